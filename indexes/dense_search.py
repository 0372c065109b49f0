"""Searching the dense segments of a generation.

A segment is scanned, or its codes or its structure propose candidates that are then scored
exactly; on a GPU that has room for the vectors, what is not a structure asked for is scanned there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes import bitscan, rabitq
from ragib.indexes.base import Mask, Queries, TopK
from ragib.indexes.exact import Vectors, cuda_holds, search_exact, search_torch
from ragib.indexes.readahead import ReadAhead
from ragib.indexes.structure import candidates, read_structure
from ragib.indexes.topk import empty, merge, rank, shift

if TYPE_CHECKING:
    from ragib.indexes.dense import DenseEngine

STRUCTURE = "structure.faiss"

_QUERIES_AT_ONCE = 256
# Under a strict filter a graph walk finds little and a scan of what is allowed is cheap.
_SCAN_ROWS = 10_000
_SCAN_SHARE = 0.05
_CANDIDATES = 256
"""Rows that one-bit codes propose, at least: for ten results, 100 find .973 of them, 256 .996."""

_LARGE = 1 << 28
"""Bytes of vectors from which on candidates are read ahead; fewer are soon in memory as a whole."""


@dataclass
class Segment:
    """The vectors of one segment, `(n, d)`; the first is row `start` of the whole."""

    folder: Path
    vectors: Vectors
    start: int

    @cached_property
    def codes(self) -> rabitq.Codes | None:
        """Its one-bit codes; `None` without them, or without what searches them."""
        if not (self.folder / rabitq.CODES).exists() or not bitscan.available():
            return None
        return rabitq.read_codes(self.folder, *self.vectors.shape)

    @cached_property
    def structure(self) -> Any:  # noqa: ANN401
        """Its faiss structure; `None` without one."""
        path = self.folder / STRUCTURE
        return read_structure(path, self.vectors) if path.exists() else None

    @cached_property
    def ahead(self) -> ReadAhead:
        """What has its vectors read from the disk."""
        return ReadAhead(self.vectors)

    @cached_property
    def on_gpu(self) -> Any:  # noqa: ANN401
        """Its vectors as a tensor on a GPU; `None` without one that has room for them."""
        if not cuda_holds(self.vectors.nbytes):
            return None
        torch = require("torch", "dense search on a GPU")
        return torch.from_numpy(np.array(self.vectors)).to("cuda")


@dataclass
class DenseSearcher:
    """Opened vectors; every score is an exact float32 inner product."""

    engine: DenseEngine
    segments: Sequence[Segment]
    alive: Mask

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query; see `Searcher.search`."""
        vectors = self.engine.queries(queries)
        mask = self.alive if allowed is None else self.alive & allowed
        found = empty(len(vectors), k)
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            here = slice(start, start + _QUERIES_AT_ONCE)
            best = self._search_some(vectors[here], k, mask)
            found.rows[here], found.scores[here] = best.rows, best.scores
        return found

    def _search_some(self, queries: Vectors, k: int, mask: Mask) -> TopK:
        found = [empty(len(queries), k)]
        for segment in self.segments:
            count, width = segment.vectors.shape
            part = mask[segment.start : segment.start + count]
            if not part.any():
                continue
            if queries.shape[1] != width:
                raise InputError(
                    f"the query vectors have {queries.shape[1]} dimensions and the index has "
                    f"{width}; search with the encoder it was built with"
                )
            result = self._search_segment(segment, queries, k, None if part.all() else part)
            found.append(shift(result, segment.start))
        return found[-1] if len(found) <= 2 else merge(found, k)

    def _search_segment(
        self, segment: Segment, queries: Vectors, k: int, mask: Mask | None
    ) -> TopK:
        config = self.engine.config
        if config.storage in ("auto", "flat") and segment.on_gpu is not None:
            return search_torch(segment.on_gpu, queries, k, mask)
        total = len(segment.vectors)
        count = total if mask is None else int(mask.sum())
        if segment.codes is not None:
            wanted = max(k * config.refine, _CANDIDATES)
            if wanted < count:
                rows = rabitq.candidates(segment.codes, queries, wanted, mask)
                return self._rescored(segment, queries, k, rows, mask)
        elif segment.structure is not None:
            few = mask is not None and count < max(_SCAN_ROWS, _SCAN_SHARE * total)
            if not few:
                wanted = min(count, k)
                rows = candidates(config.storage, segment.structure, queries, wanted, mask)
                return self._rescored(segment, queries, k, rows, mask)
        return search_exact(segment.vectors, queries, k, mask)

    def _rescored(
        self,
        segment: Segment,
        queries: Vectors,
        k: int,
        rows: NDArray[np.int64],
        mask: Mask | None,
    ) -> TopK:
        """Score candidates `(q, c)` exactly and keep the best `k`."""
        rows = np.sort(rows, axis=1)  # in the order in which they lie on the disk
        scores = np.empty(rows.shape, np.float32)
        for i, query in enumerate(queries):
            if segment.vectors.nbytes >= _LARGE:
                segment.ahead.ask(rows[i], rows[i] + 1)
            scores[i] = segment.vectors[rows[i]] @ query
        found = rank(rows, scores, k)
        # A filtered graph walk may come back short; what it missed is found by a scan.
        count = len(segment.vectors) if mask is None else int(mask.sum())
        short = np.flatnonzero((found.rows >= 0).sum(axis=1) < min(k, count))
        if len(short):
            scanned = search_exact(segment.vectors, queries[short], k, mask)
            found.rows[short], found.scores[short] = scanned.rows, scanned.scores
        return found
