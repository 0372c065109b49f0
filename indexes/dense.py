"""One vector a passage: exact search, or codes or a structure whose finds are scored exactly.

The original vectors are always kept, whatever the storage: they give exact scores to the
candidates, so that the scores of all segments compare, they answer where a filter leaves few rows,
and they are what compaction merges. Whatever the storage, what a filter leaves out is not scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import DenseConfig, Kind
from ragib.errors import InputError
from ragib.indexes import rabitq
from ragib.indexes.base import Batch, Mask, Queries
from ragib.indexes.choice import FLAT_UP_TO, choose, kept_dim
from ragib.indexes.dense_search import STRUCTURE, DenseSearcher, Segment
from ragib.indexes.exact import Vectors
from ragib.indexes.structure import HNSW_EF_CONSTRUCTION, HNSW_M, build_structure

__all__ = ["VECTORS", "DenseEngine", "DenseSearcher"]

VECTORS = "vectors.npy"

_CHUNK = 65_536


class DenseEngine:
    """The dense index: `vectors.npy` `(n, d)` float32 (unit rows for cosine) and its codes."""

    kind: Kind = "dense"
    needs_dense = True
    needs_tokens = False

    def __init__(self, config: DenseConfig) -> None:
        self.config = config

    def encode(self, batch: Batch, out: Path) -> None:
        """Write the vectors of a batch.

        Raises
        ------
        InputError
            A vector holds NaN or infinity, the message names the passage; or it has fewer
            dimensions than shall be kept.
        """
        if batch.encoded is None or batch.encoded.dense is None:
            raise InputError("the dense index needs dense vectors of its passages")
        vectors = np.asarray(batch.encoded.dense, np.float32)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            name = batch.passages[int(bad[0])].id
            raise InputError(
                f"passage {name!r}: its vector is not finite; the encoder may overflow in half "
                "precision: set index.encoder.dtype=float32"
            )
        np.save(out / VECTORS, self._scaled(vectors))

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Write the kept vectors of all parts, and the codes or the structure of them.

        Raises
        ------
        InputError
            The parts have vectors of different dimensions.
        """
        opened = [_read(part) for part in parts]
        widths = {vectors.shape[1] for vectors in opened}
        if len(widths) > 1:
            raise InputError(
                f"vectors of {sorted(widths)} dimensions do not go into one dense index; "
                "build it anew with one encoder"
            )
        count = sum(
            len(vectors) if flags is None else int(flags.sum())
            for vectors, flags in zip(opened, keep, strict=True)
        )
        merged = np.lib.format.open_memmap(
            out / VECTORS, mode="w+", dtype=np.float32, shape=(count, max(widths, default=0))
        )
        row = 0
        for vectors, flags in zip(opened, keep, strict=True):
            for chunk in _chunks(vectors, flags):
                merged[row : row + len(chunk)] = chunk
                row += len(chunk)
        merged.flush()
        storage = choose(self.config, count)
        if storage == "rabitq" and count:
            rabitq.write_codes(merged, out)
        elif storage != "flat" and count:
            build_structure(storage, merged, out / STRUCTURE)

    def open(self, segments: Sequence[Path], alive: Mask) -> DenseSearcher:
        """Map the segments into memory."""
        opened: list[Segment] = []
        start = 0
        for folder in segments:
            segment = Segment(folder, _read(folder), start)
            start += len(segment.vectors)
            opened.append(segment)
        return DenseSearcher(self, opened, alive)

    def describe(self) -> dict[str, Any]:
        """Return storage, metric, dimensions if they are fewer, and what decides the files."""
        storage = self.config.storage
        facts: dict[str, Any] = {"storage": storage, "metric": self.config.metric}
        if self.config.dim is not None:
            facts["dim"] = self.config.dim
        if storage == "auto":
            facts["flat_up_to"] = FLAT_UP_TO
        if storage in ("auto", "rabitq"):
            facts["codes"] = rabitq.VERSION
        if storage == "hnsw":
            facts |= {"m": HNSW_M, "ef_construction": HNSW_EF_CONSTRUCTION}
        return facts

    def queries(self, queries: Queries) -> Vectors:
        """Return the query vectors `(q, d)` in the form in which passages are stored."""
        if queries.encoded is None or queries.encoded.dense is None:
            raise InputError("dense search needs dense vectors of its queries")
        vectors = np.asarray(queries.encoded.dense, np.float32)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(f"query {queries.texts[int(bad[0])]!r}: its vector is not finite")
        return self._scaled(vectors)

    def _scaled(self, vectors: Vectors) -> Vectors:
        vectors = vectors[:, : kept_dim(self.config, vectors.shape[1])]
        if self.config.metric == "dot":
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
        return scaled


def _read(folder: Path) -> Vectors:
    # As a plain array over the same pages: a `memmap` takes its time over every small gather.
    vectors: Vectors = np.asarray(np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False))
    return vectors


def _chunks(vectors: Vectors, keep: Mask | None) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _CHUNK):
        chunk = vectors[start : start + _CHUNK]
        yield chunk if keep is None else chunk[keep[start : start + _CHUNK]]
