"""The multi-vector index: pooled token vectors a passage, eight-bit codes, exact MaxSim.

Every passage is scored with the codes; the best few are scored again with finer vectors and the
query as it is. Each pooled vector knows the characters of its tokens, so that a hit can say where
it matched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind, MultiVectorConfig
from ragib.encoders import TokenVectors
from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes import packed, pooling
from ragib.indexes.base import Batch, Mask, Queries, TopK
from ragib.indexes.maxsim import Block, scan
from ragib.indexes.quantize import RESIDUAL_BITS, restore
from ragib.indexes.topk import empty, rank, select
from ragib.text import Span

Matrix = NDArray[np.float32]

_GROUP = 128
"""Query vectors that are scored in one pass over the passages."""

_SPARE = 50
"""Candidates beyond `k` that are rescored at most."""


class MultiVectorEngine:
    """Token vectors of passages, searched by MaxSim.

    `projection` is the `(d, dim)` float32 matrix of `fit_projection`, or `None` where token
    vectors are indexed as they come. Needs torch, and SciPy to pool.
    """

    kind: Kind = "multivector"
    needs_dense = False
    needs_tokens = True

    def __init__(self, config: MultiVectorConfig, projection: Matrix | None) -> None:
        self._config = config
        self._projection = projection

    def encode(self, batch: Batch, out: Path) -> None:
        """Project, pool and code the token vectors of a batch.

        Raises
        ------
        InputError
            A passage has a vector that is not finite, or of the wrong length.
        """
        assert batch.encoded is not None
        assert batch.encoded.tokens is not None
        reduced = [
            _reduce(tokens.vectors, self._projection, f"passage {passage.id}")
            for passage, tokens in zip(batch.passages, batch.encoded.tokens, strict=True)
        ]
        pooled = pooling.pool_batch(reduced, self._config.pool_factor)
        vectors, labels = [entry[0] for entry in pooled], [entry[1] for entry in pooled]
        spans = [tokens.spans for tokens in batch.encoded.tokens]
        finer = self._config.rescore > 0
        packed.write(packed.pack(vectors, labels, spans, finer=finer), out)

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Write one segment out of parts, leaving out the rows that `keep` does not flag."""
        packed.merge(parts, keep, out)

    def open(self, segments: Sequence[Path], alive: Mask) -> MultiVectorSearcher:
        """Open segments for searching; `alive` flags the rows that are not deleted."""
        return MultiVectorSearcher(
            [packed.read(folder) for folder in segments],
            alive,
            self._projection,
            self._config.rescore,
        )

    def describe(self) -> dict[str, Any]:
        """Return what the manifest records: how vectors were projected, pooled and coded."""
        shape = None if self._projection is None else list(self._projection.shape)
        return {
            "algorithm": "maxsim",
            "version": 1,
            "projection": shape,
            "pooling": {**pooling.ALGORITHM, "factor": self._config.pool_factor},
            "bits": 8,
            "residual_bits": RESIDUAL_BITS if self._config.rescore else 0,
        }


class MultiVectorSearcher:
    """Exact search over segments; on a GPU the codes are kept in its memory."""

    def __init__(
        self,
        segments: Sequence[packed.Packed],
        alive: Mask,
        projection: Matrix | None,
        rescore: int,
    ) -> None:
        torch = require("torch", "multi-vector search")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._segments = segments
        self._alive = alive
        self._projection = projection
        self._rescore = rescore
        self._width = max((segment.codes.shape[1] for segment in segments), default=0)
        self._blocks = [
            Block(torch.from_numpy(s.codes).to(device), s.counts, s.scales) for s in segments
        ]
        sizes = [len(segment.rows) for segment in segments]
        self._bases = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._starts = [np.concatenate([[0], np.cumsum(s.counts)]) for s in segments]
        # Where each row is stored within its segment.
        self._positions = np.empty(self._bases[-1], np.int64)
        for segment, base in zip(segments, self._bases, strict=False):
            self._positions[base + segment.rows] = np.arange(len(segment.rows))

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query.

        A query without vectors, such as an empty text, finds nothing, and a passage without
        vectors is never found.

        Raises
        ------
        InputError
            A query has a vector that is not finite, or of the wrong length.
        """
        assert queries.encoded is not None
        assert queries.encoded.tokens is not None
        vectors = [
            _reduce(tokens.vectors, self._projection, f"query {number}", self._width)
            for number, tokens in enumerate(queries.encoded.tokens, 1)
        ]
        wanted = self._alive if allowed is None else self._alive & allowed
        found = empty(len(vectors), k)
        if k < 1 or not wanted.any():
            return found
        for group in _groups(vectors):
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
        vectors = _reduce(query.vectors, self._projection, "query", self._width)
        passage, _ = self._restored(np.array([row]))
        if len(passage) == 0:
            return [() for _ in vectors]
        labels, spans = self._segments[number].spans(position)
        return [
            tuple((int(a), int(b)) for a, b in spans[(labels == best) & (spans[:, 0] >= 0)])
            for best in (vectors @ passage.T).argmax(axis=1)
        ]

    def _top(self, queries: list[Matrix], k: int, wanted: Mask) -> TopK:
        scores = np.full((len(queries), len(wanted)), -np.inf, np.float32)
        keep = None if wanted.all() else wanted
        for segment, block, base in zip(self._segments, self._blocks, self._bases, strict=False):
            rows = base + segment.rows
            scores[:, rows] = scan(block, queries, None if keep is None else keep[rows])
        if self._rescore == 0:
            return select(scores, k)
        # Coding shifts a score by little, so at large k only the ranks around the last can change.
        count = min(k * self._rescore, k + _SPARE, len(wanted))
        candidates = select(scores, count)
        results = [
            self._again(query, rows, line, k)
            for query, rows, line in zip(queries, candidates.rows, candidates.scores, strict=True)
        ]
        return TopK(
            np.concatenate([result.rows for result in results]),
            np.concatenate([result.scores for result in results]),
        )

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
        scale = max(float(self._segments[n].scales[p]) for n, p in self._find(rows))
        steps = np.abs(query).max(axis=1) / 127
        return float(4 * np.sqrt(2 * (scale**2 + steps**2).sum() / 12))

    def _find(self, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return for each row its segment and its position there."""
        numbers = np.searchsorted(self._bases, rows, side="right") - 1
        return list(zip(numbers.tolist(), self._positions[rows].tolist(), strict=True))

    def _restored(self, rows: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        """Fetch the vectors of rows, one passage after another, and how many each has."""
        codes, fine, scales, counts = [], [], [], []
        for number, position in self._find(rows):
            segment, starts = self._segments[number], self._starts[number]
            lines = slice(starts[position], starts[position + 1])
            codes.append(segment.codes[lines])
            if segment.residual is not None:
                fine.append(segment.residual[lines])
            scales.append(segment.scales[position])
            counts.append(lines.stop - lines.start)
        each = np.repeat(np.array(scales, np.float32), counts)
        packed_bits = np.concatenate(fine) if fine else None
        return restore(np.concatenate(codes), packed_bits, each), np.array(counts, np.int64)


def _reduce(
    vectors: Matrix, projection: Matrix | None, what: str, width: int | None = None
) -> Matrix:
    """Check token vectors and project them; rows come out with unit length."""
    expected = width if projection is None else len(projection)
    if expected and vectors.shape[1] != expected:
        raise InputError(
            f"{what}: token vectors have {vectors.shape[1]} dimensions, the index expects "
            f"{expected}; use the encoder it was built with"
        )
    if projection is not None:
        vectors = vectors @ projection
    if not np.isfinite(vectors).all():
        raise InputError(f"{what}: a token vector is not finite; check the encoder and its dtype")
    return pooling.normalised(vectors)


def _groups(queries: Sequence[Matrix]) -> Iterator[list[int]]:
    """Gather queries until their vectors fill one pass; queries without vectors are left out."""
    group: list[int] = []
    size = 0
    for number, query in enumerate(queries):
        if group and size + len(query) > _GROUP:
            yield group
            group, size = [], 0
        if len(query):
            group.append(number)
            size += len(query)
    if group:
        yield group
