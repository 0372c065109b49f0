"""How many of the truly best passages a search finds, by scoring all of them the plain way.

The exact scores are those of the vectors and terms that are in the index: of dense vectors their
products, of token vectors MaxSim in single precision over the vectors as finely as they are kept,
of terms the sum of their weights. Scores are compared and not rows: of several passages that tie
for the last place any one is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind
from ragib.indexes.base import Queries
from ragib.indexes.snapshot import Snapshot

Tile = tuple[NDArray[np.int64], NDArray[Any]]
"""Some rows, `(t,)`, and their exact scores for every query, `(q, t)`; -inf for deleted ones."""

_PRODUCTS = 1 << 24
"""Products a tile, whatever the number of queries."""

_TOLERANCE = 1e-5
"""Of a score, relatively: what single precision may round differently."""


def recall(
    snapshot: Snapshot, kind: Kind, queries: Queries, found: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compare what was found with an exact search.

    Parameters
    ----------
    snapshot
        The index.
    kind
        Which of its kinds was searched.
    queries
        As they were searched for.
    found
        `(q, k)` rows, padded with -1.

    Returns
    -------
    NDArray[np.float64]
        `(q,)` share of the best `k` rows that are among those found; NaN for a query for which
        there is nothing to find.
    """
    match kind:
        case "dense":
            return _share(found, _dense(snapshot, queries), -np.inf)
        case "multivector":
            return _share(found, _multivector(snapshot, queries), -np.inf)
        case "sparse":
            lines = _sparse(snapshot, queries)
            shares = [_share(found[i : i + 1], [tile], 0.0) for i, tile in enumerate(lines)]
            return np.concatenate(shares)


def _share(found: NDArray[np.int64], tiles: Iterable[Tile], floor: float) -> NDArray[np.float64]:
    queries, k = found.shape
    best = np.full((queries, k), -np.inf)
    own = np.full((queries, k), -np.inf)
    for rows, scores in tiles:
        joined = np.concatenate([best, scores], axis=1)
        best = -np.partition(-joined, k - 1, axis=1)[:, :k]
        order = np.argsort(rows)
        place = np.minimum(np.searchsorted(rows[order], found), len(rows) - 1)
        query, rank = np.nonzero(rows[order][place] == found)
        own[query, rank] = scores[query, order[place[query, rank]]]
    wanted = best > floor
    size = wanted.sum(axis=1)
    least = np.where(wanted, best, np.where(size, best.max(axis=1), 0)[:, None]).min(axis=1)[
        :, None
    ]
    right = (own > floor) & (own >= least - _TOLERANCE * np.abs(least))
    shares: NDArray[np.float64] = np.where(size, right.sum(axis=1) / np.maximum(size, 1), np.nan)
    return shares


def _dense(snapshot: Snapshot, queries: Queries) -> Iterator[Tile]:
    from ragib.indexes.dense import DenseSearcher

    searcher = cast(DenseSearcher, snapshot.searcher("dense"))
    vectors = searcher.engine.queries(queries)
    step = _PRODUCTS // len(vectors) + 1
    for segment in searcher.segments:
        for start in range(0, len(segment.vectors), step):
            scores = vectors @ segment.vectors[start : start + step].T
            rows = segment.start + start + np.arange(scores.shape[1])
            yield rows, np.where(snapshot.alive[rows], scores, -np.inf)


def _multivector(snapshot: Snapshot, queries: Queries) -> Iterator[Tile]:
    from ragib.indexes import packed
    from ragib.indexes.codes import turned
    from ragib.indexes.pooling import normalised

    assert queries.encoded is not None
    assert queries.encoded.tokens is not None
    each = [tokens.vectors for tokens in queries.encoded.tokens]
    vectors = np.concatenate(each)
    if snapshot.projection is not None:
        vectors = normalised(vectors @ snapshot.projection)
    storage = snapshot.manifest.config.multivector.storage
    vectors = turned(vectors, storage)
    step = _PRODUCTS // (len(vectors) + 1) + 1
    owner = np.zeros((len(each), len(vectors)), np.float32)
    owner[np.repeat(np.arange(len(each)), [len(one) for one in each]), np.arange(len(vectors))] = 1
    for folder, base in zip(snapshot.folders, snapshot.offsets, strict=False):
        part = packed.read(folder / "multivector", storage)
        ends = np.concatenate([[0], np.cumsum(part.counts)])
        first = int(np.searchsorted(part.counts, 0, side="right"))
        while first < len(part.counts):
            last = max(int(np.searchsorted(ends, ends[first] + step, "right")) - 1, first + 1)
            lines, counts = slice(ends[first], ends[last]), part.counts[first:last]
            scales = np.repeat(part.scales[first:last], counts)
            products = vectors @ part.vectors(lines, scales).T
            scores = owner @ np.maximum.reduceat(products, ends[first:last] - ends[first], axis=1)
            scores[~owner.any(axis=1)] = -np.inf  # queries without vectors find nothing
            rows = int(base) + part.rows[first:last]
            yield rows, np.where(snapshot.alive[rows], scores, -np.inf)
            first = last


def _sparse(snapshot: Snapshot, queries: Queries) -> Iterator[Tile]:
    from ragib.indexes.bm25 import bm25_weights
    from ragib.indexes.sparse import SparseEngine, SparseSearcher

    searcher = cast(SparseSearcher, snapshot.searcher("sparse"))
    engine = cast(SparseEngine, snapshot.engine("sparse"))
    postings, config, live = searcher.postings, engine.config, int(snapshot.alive.sum())
    match config.engine:
        case "learned":
            weights: NDArray[Any] = postings.values
        case "bm25s":
            weights = bm25_weights(postings, live, config.k1, config.b)
        case "rank-bm25":
            df = np.diff(postings.indptr)
            idf = np.maximum(np.log((live - df + 0.5) / (df + 0.5)), 0)
            # Of the other form, whose idf is taken out again.
            weights = bm25_weights(postings, live, config.k1, config.b)
            weights = weights * np.repeat(idf / np.log1p((live - df + 0.5) / (df + 0.5)), df)
    rows = np.arange(len(snapshot.alive))
    for bag in engine.queries(queries.texts):
        scores = np.zeros(len(rows))
        query = searcher.known(bag)
        for term, weight in zip(query.ids, query.weights, strict=True):
            places = slice(postings.indptr[term], postings.indptr[term + 1])
            scores[postings.rows[places]] += float(weight) * weights[places]
        yield rows, scores[None]
