"""The best k of many scores, with ties broken by the smaller row.

Masked and absent rows score -inf and never come out: results are padded with row -1 instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragib.indexes.base import TopK

_BLOCK = 32


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


def select(scores: NDArray[np.float32], k: int, floor: float = -np.inf) -> TopK:
    """Find the best `k` columns of each row of `(q, n)` scores that are above `floor`.

    No score may be NaN.

    The k-th best of the maxima of blocks bounds the k-th best score from below, so that only what
    reaches it is sorted. (`numpy.partition` is 30 times slower where many scores are equal.)
    """
    found = empty(len(scores), k)
    for i, line in enumerate(scores):
        blocks = len(line) // _BLOCK
        bound = np.float32(floor)
        if 0 < k < blocks:
            maxima = line[: blocks * _BLOCK].reshape(_BLOCK, blocks).max(axis=0)
            bound = np.sort(maxima)[blocks - k]
        rows = np.flatnonzero(line >= bound if bound > floor else line > floor)
        rows = rows[np.argsort(-line[rows], kind="stable")[:k]]
        found.rows[i, : len(rows)] = rows
        found.scores[i, : len(rows)] = line[rows]
    return found


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
