"""The best k of many scores, with ties broken by the smaller row.

Masked and absent rows score -inf and never come out: results are padded with row -1 instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragib.indexes.base import TopK


def empty(queries: int, k: int) -> TopK:
    """Return the result of finding nothing for `queries` queries."""
    return TopK(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))


def rank(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> TopK:
    """Sort candidates and keep the best `k`.

    Parameters
    ----------
    rows
        `(q, c)` candidates in any order, distinct within a query; -1 where there is none.
    scores
        `(q, c)`, -inf (or NaN) where there is no candidate.
    k
        Results a query; padded when there are fewer candidates.
    """
    scores = np.where((rows < 0) | np.isnan(scores), np.float32(-np.inf), scores)
    order = np.lexsort((rows, -scores), axis=-1)[:, :k]
    found = empty(len(rows), k)
    best = np.take_along_axis(scores, order, axis=1)
    found.scores[:, : order.shape[1]] = best
    found.rows[:, : order.shape[1]] = np.where(
        best == -np.inf, -1, np.take_along_axis(rows, order, axis=1)
    )
    return found


def select(scores: NDArray[np.float32], k: int) -> TopK:
    """Find the best `k` columns of each row of `(q, n)` scores; no score may be NaN."""
    width = scores.shape[1]
    if width <= k:
        rows = np.broadcast_to(np.arange(width, dtype=np.int64), scores.shape)
        return rank(rows, scores, k)
    candidates = np.empty((len(scores), k), np.int64)
    for i, line in enumerate(scores):
        least = np.partition(line, width - k)[width - k]
        above = np.flatnonzero(line > least)
        candidates[i, : len(above)] = above
        candidates[i, len(above) :] = np.flatnonzero(line == least)[: k - len(above)]
    return rank(candidates, np.take_along_axis(scores, candidates, axis=1), k)


def merge(results: Sequence[TopK], k: int) -> TopK:
    """Join results over disjoint sets of rows into the best `k` of all; at least one result."""
    return rank(
        np.concatenate([result.rows for result in results], axis=1),
        np.concatenate([result.scores for result in results], axis=1),
        k,
    )


def shift(result: TopK, offset: int) -> TopK:
    """Renumber the rows of a segment whose first row is row `offset` of the whole."""
    return TopK(np.where(result.rows < 0, -1, result.rows + offset), result.scores)
