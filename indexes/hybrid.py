"""Fusion of the results of several kinds of index.

Convex combination of normalised scores (Bruch, Gai & Ingber 2023, "An Analysis of Fusion
Functions for Hybrid Retrieval", 2210.11934), or reciprocal rank fusion (Cormack, Clarke &
Buettcher 2009).

Measured, nDCG@10 of equal weights over the best 100 of sparse, dense and multi-vector, on
cranfield and on a vaswani sample: best single index .381 and .659; min-max .407 and .686;
reciprocal rank .404 and .683; scaling from the theoretical minima (0 for BM25, -1 a cosine)
.399 and .673; scaling from 0 for all .409 and .684; z-scores .405 and .690.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind
from ragib.errors import ConfigError
from ragib.indexes.base import TopK
from ragib.indexes.topk import empty, rank


def fuse_convex(results: Mapping[Kind, TopK], weights: Mapping[Kind, float], k: int) -> TopK:
    """Fuse by a weighted mean of scores that are scaled to [0, 1] a query and kind.

    Each kind's returned scores s become (s - min) / (max - min) over what it returned for the
    query; where all are equal (or there is only one), 1. A row that a kind did not return gets 0
    from it.

    Parameters
    ----------
    results
        What each kind returned, of one number of queries; widths may differ.
    weights
        One non-negative number a kind; kinds without one weigh 1. They are scaled to sum 1.
    k
        Results a query.

    Raises
    ------
    ConfigError
        A weight is negative or not finite, or all weights are 0.
    """
    share = _shares(results, weights)
    return _sum(
        {kind: (found, share[kind] * _min_max(found)) for kind, found in results.items()}, k
    )


def fuse_rrf(results: Mapping[Kind, TopK], k: int, constant: int = 60) -> TopK:
    """Fuse by the sum over kinds of 1 / (constant + rank), ranks from 1."""
    gains = {}
    for kind, found in results.items():
        by_rank = 1 / (constant + 1 + np.arange(found.rows.shape[1], dtype=np.float64))
        gains[kind] = (found, np.broadcast_to(by_rank, found.rows.shape))
    return _sum(gains, k)


def _shares(kinds: Mapping[Kind, TopK], weights: Mapping[Kind, float]) -> dict[Kind, float]:
    given = {kind: float(weights.get(kind, 1.0)) for kind in kinds}
    for kind, weight in given.items():
        if not (np.isfinite(weight) and weight >= 0):
            raise ConfigError(
                f"retriever.weights.{kind}: expected a number of 0 or more, got {weight}"
            )
    total = sum(given.values())
    if not total:
        raise ConfigError("retriever.weights: all weights are 0; give at least one kind some")
    return {kind: weight / total for kind, weight in given.items()}


def _min_max(found: TopK) -> NDArray[np.float64]:
    held = found.rows >= 0
    scores = found.scores.astype(np.float64)
    low = np.where(held, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(held, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    spread = np.where(high > low, high - low, 1.0)
    scaled = np.where(
        high > low, (np.where(held, scores, 0) - np.where(held, low, 0)) / spread, 1.0
    )
    return np.where(held, scaled, 0.0)


def _sum(gains: Mapping[Kind, tuple[TopK, NDArray[np.float64]]], k: int) -> TopK:
    rows = np.concatenate([found.rows for found, _ in gains.values()], axis=1)
    gained = np.concatenate([gain for _, gain in gains.values()], axis=1)
    fused = empty(len(rows), k)
    for i, (line, gain) in enumerate(zip(rows, gained, strict=True)):
        held = line >= 0
        distinct, place = np.unique(line[held], return_inverse=True)
        sums = np.bincount(place, weights=gain[held], minlength=len(distinct))
        best = rank(distinct[None], sums.astype(np.float32)[None], k)
        fused.rows[i], fused.scores[i] = best.rows[0], best.scores[0]
    return fused
