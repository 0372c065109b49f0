"""Searching token vectors: exact MaxSim over all passages, or over proposed ones.

Passages are scored with their codes, and the best few again with the finer vectors, if those are
kept, and the query as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragib.config import MultiVectorConfig
from ragib.encoders import TokenVectors
from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes import packed
from ragib.indexes.base import Mask, Queries, TopK
from ragib.indexes.codes import BITS, decode, turned, unit
from ragib.indexes.device_scan import on_gpu
from ragib.indexes.maxsim import Block, scan, score
from ragib.indexes.projection import project
from ragib.indexes.readahead import ReadAhead
from ragib.indexes.topk import empty, rank, select
from ragib.text import Span

Matrix = NDArray[np.float32]

_GROUP, _GPU_GROUP = 128, 1024
"""Query vectors that are scored in one pass over the passages."""

_SPARE = 50
"""Candidates beyond `k` that are rescored at most, of eight-bit codes."""

AHEAD = 8
"""Queries whose candidates are read from the disk while one is scored."""


class MultiVectorSearcher:
    """Exact search over segments; all passages are scored on a GPU where there is one."""

    def __init__(
        self,
        segments: Sequence[packed.Packed],
        alive: Mask,
        projection: Matrix | None,
        config: MultiVectorConfig,
    ) -> None:
        torch = require("torch", "multi-vector search")
        self.segments = segments
        self._alive = alive
        self._projection = projection
        self._rescore = config.rescore
        self._storage = config.storage
        bits = BITS[config.storage]
        widths = [8 * segment.codes.shape[1] // bits for segment in segments]
        self._width = max(widths, default=0)
        if any(len(s.codes) and w != self._width for s, w in zip(segments, widths, strict=True)):
            raise ValueError(f"segments with vectors of {sorted(set(widths))} dimensions")
        self._unit = unit(config.storage, finer=config.rescore > 0)
        self._blocks = [
            Block(torch.from_numpy(s.codes), s.counts, s.scales * self._unit, bits)
            for s in segments
        ]
        sizes = [len(segment.scales) for segment in segments]
        self._bases = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._codes_ahead = [ReadAhead(s.codes) for s in segments]
        self._finer_ahead = [ReadAhead(s.residual) for s in segments if s.residual is not None]
        self._rows = [base + s.rows for s, base in zip(segments, self._bases, strict=False)]
        self._scanner = on_gpu(self._blocks, self._rows)
        # Where each row is stored within its segment.
        self._positions = np.empty(self._bases[-1], np.int64)
        for rows in self._rows:
            self._positions[rows] = np.arange(len(rows))

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query.

        A query without vectors, such as an empty text, finds nothing, and a passage without
        vectors is never found.

        Raises
        ------
        InputError
            A query has a vector that is not finite, or of the wrong length.
        """
        vectors = self._vectors(queries)
        wanted = self._alive if allowed is None else self._alive & allowed
        found = empty(len(vectors), k)
        if k < 1 or not wanted.any():
            return found
        for group in _groups(vectors, _GROUP if self._scanner is None else _GPU_GROUP):
            best = self._top([vectors[i] for i in group], k, wanted)
            found.rows[group], found.scores[group] = best.rows, best.scores
        return found

    def where(self, row: int, query: TokenVectors) -> list[tuple[Span, ...]]:
        """Say where in a passage each vector of a query matched best.

        Returns
        -------
        list[tuple[Span, ...]]
            For each query vector the characters, in the passage's text, of the tokens that were
            pooled into the best passage vector; empty where those have no place in the text.
        """
        ((number, position),) = self._find(np.array([row]))
        vectors = self._turned(query, "query")
        passage, _ = self._restored(np.array([row]))
        if len(passage) == 0:
            return [() for _ in vectors]
        labels, spans = self.segments[number].spans(position)
        return [
            tuple((int(a), int(b)) for a, b in spans[(labels == best) & (spans[:, 0] >= 0)])
            for best in (vectors @ passage.T).argmax(axis=1)
        ]

    def search_among(self, queries: Queries, k: int, rows: NDArray[np.int64]) -> TopK:
        """Return the best `k` of the rows that are proposed for each query.

        Scores are those of `search`.

        Parameters
        ----------
        queries
            As in `search`; raises as it does.
        k
            Results a query.
        rows
            `(q, c)` candidates in any order, padded with -1; deleted ones are left out.
        """
        vectors = self._vectors(queries)
        found = empty(len(vectors), k)
        self.read_ahead(rows[:AHEAD])
        for number, (query, line) in enumerate(zip(vectors, rows, strict=True)):
            self.read_ahead(rows[number + AHEAD : number + AHEAD + 1])
            candidates = np.unique(line[line >= 0])
            candidates = candidates[self._alive[candidates]]
            if k > 0 and len(query) and len(candidates):
                best = self._best(query, candidates, k)
                found.rows[number], found.scores[number] = best.rows[0], best.scores[0]
        return found

    def read_ahead(self, rows: NDArray[np.int64]) -> None:
        """Have the codes of rows read from the disk, without waiting; -1 stands for no row."""
        rows = np.unique(rows[rows >= 0])
        self._ask(self._codes_ahead, rows)

    def _ask(self, ahead: Sequence[ReadAhead], rows: NDArray[np.int64]) -> None:
        """Have one file's lines of rows, ascending, read in all segments."""
        edges = np.searchsorted(rows, self._bases)
        for number, (file, block) in enumerate(zip(ahead, self._blocks, strict=True)):
            places = self._positions[rows[edges[number] : edges[number + 1]]]
            file.ask(block.offsets[places], block.offsets[places + 1])

    def _vectors(self, queries: Queries) -> list[Matrix]:
        assert queries.encoded is not None
        assert queries.encoded.tokens is not None
        return [
            self._turned(tokens, f"query {number}")
            for number, tokens in enumerate(queries.encoded.tokens, 1)
        ]

    def _turned(self, query: TokenVectors, what: str) -> Matrix:
        """Bring the vectors of a query into the space of the codes."""
        vectors = turned(project(query.vectors, self._projection, what), self._storage)
        if self._width and vectors.shape[1] != self._width:
            raise InputError(
                f"{what}: token vectors have {query.vectors.shape[1]} dimensions, the index "
                f"expects {self._width}; use the encoder it was built with"
            )
        return vectors

    def _top(self, queries: list[Matrix], k: int, wanted: Mask) -> TopK:
        count = k if self._rescore == 0 else min(self._count(k), len(wanted))
        if self._scanner is not None:
            candidates = self._scanner.top(queries, count, wanted)
        else:
            candidates = self._scanned(queries, count, wanted)
        if self._rescore == 0:
            return candidates
        results = [
            self._again(query, rows, line, k)
            for query, rows, line in zip(queries, candidates.rows, candidates.scores, strict=True)
        ]
        return TopK(
            np.concatenate([result.rows for result in results]),
            np.concatenate([result.scores for result in results]),
        )

    def _scanned(self, queries: list[Matrix], k: int, wanted: Mask) -> TopK:
        scores = np.full((len(queries), len(wanted)), -np.inf, np.float32)
        keep = None if wanted.all() else wanted
        for block, rows in zip(self._blocks, self._rows, strict=True):
            scores[:, rows] = scan(block, queries, None if keep is None else keep[rows])
        return select(scores, k)

    def _best(self, query: Matrix, rows: NDArray[np.int64], k: int) -> TopK:
        """Score rows, ascending, for one query."""
        scores = np.full(len(rows), -np.inf, np.float32)
        for number, block in enumerate(self._blocks):
            first, last = np.searchsorted(rows, self._bases[number : number + 2])
            positions = self._positions[rows[first:last]]
            order = np.argsort(positions)
            order = order[positions[order] >= block.filled]
            if len(order):
                scores[first + order] = score(block, [query], positions[order])[0]
        count = k if self._rescore == 0 else min(self._count(k), len(rows))
        best = rank(rows[None], scores[None], count)
        return best if self._rescore == 0 else self._again(query, best.rows[0], best.scores[0], k)

    def _count(self, k: int) -> int:
        """Return how many rows are rescored for `k` results, at most."""
        # Eight-bit codes shift a score by little: at large k only ranks around the last change.
        more = k + _SPARE if self._storage == "int8" else k * self._rescore
        return min(k * self._rescore, more)

    def _again(
        self, query: Matrix, rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
    ) -> TopK:
        """Score candidates, best first, with the finer vectors."""
        rows = rows[scores > -np.inf]
        if len(rows) > k:
            least = scores[k - 1] - self._margin(query, rows)
            rows = rows[scores[: len(rows)] >= least]
        if len(rows) == 0:
            return empty(1, k)
        vectors, counts = self._restored(rows)
        products = vectors.astype(np.float64) @ query.T.astype(np.float64)
        best = np.maximum.reduceat(products, np.cumsum(counts) - counts, axis=0)
        return rank(rows[None], best.sum(axis=1)[None].astype(np.float32), k)

    def _margin(self, query: Matrix, rows: NDArray[np.int64]) -> float:
        """Bound how far two scores can be out of order: four standard deviations of rounding.

        Rounding to steps of `s` errs by `s / sqrt(12)`, which passes through a product with a
        unit vector unchanged; a score sums one product a query vector.
        """
        cell = self._unit * (1 if self._storage == "int8" else 2)
        scale = cell * max(float(self.segments[n].scales[p]) for n, p in self._find(rows))
        steps = np.abs(query).max(axis=1) / 127
        return float(4 * np.sqrt(2 * (scale**2 + steps**2).sum() / 12))

    def _find(self, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return for each row its segment and its position there."""
        numbers = np.searchsorted(self._bases, rows, side="right") - 1
        return list(zip(numbers.tolist(), self._positions[rows].tolist(), strict=True))

    def _restored(self, rows: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        """Fetch the vectors of rows, one passage after another, and how many each has."""
        codes, finer, scales, counts = [], [], [], []
        for ahead in filter(None, (self._codes_ahead, self._finer_ahead)):
            self._ask(ahead, np.sort(rows))
        for number, position in self._find(rows):
            segment, offsets = self.segments[number], self._blocks[number].offsets
            lines = slice(offsets[position], offsets[position + 1])
            codes.append(segment.codes[lines])
            if segment.residual is not None:
                finer.append(segment.residual[lines])
            scales.append(segment.scales[position])
            counts.append(lines.stop - lines.start)
        each = np.repeat(np.array(scales, np.float32), counts)
        levels = np.concatenate(finer) if finer else None
        vectors = decode(np.concatenate(codes), levels, each, self._storage)
        return vectors, np.array(counts, np.int64)


def _groups(queries: Sequence[Matrix], most: int) -> Iterator[list[int]]:
    """Gather queries until their vectors fill one pass; queries without vectors are left out."""
    group: list[int] = []
    size = 0
    for number, query in enumerate(queries):
        if group and size + len(query) > most:
            yield group
            group, size = [], 0
        if len(query):
            group.append(number)
            size += len(query)
    if group:
        yield group
