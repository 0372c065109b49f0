"""What every kind of index must do: encode a batch, merge parts, open segments, search.

A *part* is a folder that holds one kind's files for a run of passages. A build writes many small
parts (so that it can resume), then merges them into one segment; compaction merges segments in
the same way. Parts and segments therefore share one format. Rows of a part are numbered from 0 in
passage order; opened segments are numbered through, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind
from ragib.encoders import Encoded
from ragib.types import Passage

Mask = NDArray[np.bool_]
"""One flag a row: true for rows that may be returned."""


@dataclass(frozen=True, slots=True)
class TopK:
    """The best rows of each query, best first.

    `rows` is `(q, k)` int64, padded with -1; `scores` is `(q, k)` float32, padded with -inf.
    Ties are broken by the smaller row, so that a result is the same on every machine.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Passages to index, with what the encoder made of them (`None` if nobody asked)."""

    passages: Sequence[Passage]
    encoded: Encoded | None = None


@dataclass(frozen=True, slots=True)
class Queries:
    """Questions, with what the encoder made of them (`None` if nobody asked)."""

    texts: Sequence[str]
    encoded: Encoded | None = None


class Searcher(Protocol):
    """One kind of index, opened over all segments of a generation."""

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query.

        `allowed` has a flag for every row; rows without it are never scored. `None` allows all
        live rows. `k` may exceed the number of rows.
        """
        ...


class Engine(Protocol):
    """One kind of index.

    `needs_dense` and `needs_tokens` say which output of the encoder it uses. All three steps
    write or read inside the folders they are given, and nothing else.
    """

    kind: Kind
    needs_dense: bool
    needs_tokens: bool

    def encode(self, batch: Batch, out: Path) -> None:
        """Write the part for a batch of passages into the empty folder `out`."""
        ...

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Write one segment out of parts, leaving out the rows that `keep` does not flag.

        Memory is bounded by the largest part (plus what a search structure needs to be built).
        """
        ...

    def open(self, segments: Sequence[Path], alive: Mask) -> Searcher:
        """Open segments for searching; `alive` flags the rows that are not deleted."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the manifest records of this kind (algorithm, version, parameters)."""
        ...
