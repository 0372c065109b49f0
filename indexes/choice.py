"""Which storage the dense vectors of a segment get, and why; and how much of them is kept.

A scan of all vectors is exact, and 50,000 of them take no longer than encoding the question does.
Over more, `auto` adds RaBitQ: it needs no training, a thirtieth of the memory and a tenth of the
time, and its candidates are scored exactly from the originals.

The choice is made for each segment when it is written, by a build, an addition or a compaction,
from the passages in it. Segments never change, are searched one by one and give exact scores
whatever their storage, so those of different storage go into one result without a seam. A few
passages added to a large index are scanned, which costs little; what many small additions leave
behind is chosen for anew when they are compacted. The size of the whole index would say less:
codes of a small segment save nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ragib.config import DenseConfig
from ragib.errors import InputError
from ragib.indexes.bitscan import available

FLAT_UP_TO = 50_000
"""Passages of a segment that `auto` scans, at most."""

Storage = Literal["flat", "sq8", "hnsw", "rabitq"]


def choose(config: DenseConfig, passages: int) -> Storage:
    """Return the storage of a segment that is about to be written."""
    if config.storage != "auto":
        return config.storage
    return "rabitq" if passages > FLAT_UP_TO and available() else "flat"


def kept_dim(config: DenseConfig, width: int) -> int:
    """Return how many of an encoder's `width` dimensions are kept.

    Keeping the first ones is what Matryoshka encoders are trained for (Kusupati et al. 2022,
    2205.13147).

    Raises
    ------
    InputError
        The configuration asks for more than there are.
    """
    if config.dim is None:
        return width
    if config.dim > width:
        raise InputError(
            f"index.dense.dim={config.dim}: the encoder makes vectors of {width} dimensions; "
            f"set it to {width} or less, or leave it out"
        )
    return config.dim


def explain(config: DenseConfig, segments: Sequence[tuple[int, bool]]) -> str:
    """Say in one line which storage segments have, and why.

    Parameters
    ----------
    config
        What they were written with.
    segments
        The passages of each, and whether there are codes of them.
    """
    if config.storage != "auto":
        return f"{config.storage}, as configured"
    coded = [passages for passages, codes in segments if codes]
    large = [passages for passages, codes in segments if not codes and passages > FLAT_UP_TO]
    small = [passages for passages, codes in segments if not codes and passages <= FLAT_UP_TO]
    told = []
    if coded:
        told.append(f"rabitq, since {_passages(coded)} > {FLAT_UP_TO:,}")
    if large:
        told.append(
            f"flat, though {_passages(large)} > {FLAT_UP_TO:,}, since rabitq needs llvmlite, "
            "which was not installed"
        )
    if small or not segments:
        told.append(f"flat, since {_passages(small)} <= {FLAT_UP_TO:,}")
    return "; ".join(told)


def _passages(counts: Sequence[int]) -> str:
    if len(counts) <= 1:
        return f"{sum(counts):,} passages"
    return f"{min(counts):,} to {max(counts):,} passages in each of {len(counts)} segments"
