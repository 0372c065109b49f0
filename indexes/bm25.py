"""BM25 in the form of Lucene, which is that of bm25s; and rank-bm25 as a reference.

With N live passages, df the passages that hold a term, tf its count in a passage of l terms and
avgdl the mean of l, a query term adds

    idf * tf / (tf + k1 * (1 - b + b * l / avgdl)),    idf = ln(1 + (N - df + 0.5) / (df + 0.5)).

(Robertson & Zaragoza 2009; Kamphuis et al. 2020 for the variants; Lù 2024, 2407.03618, for
weights that are there before the question.) The rank-bm25 engine is its `BM25Okapi` with
`epsilon=0`: the idf is ln((N - df + 0.5) / (df + 0.5)), not below 0, and all scores are k1 + 1
times those of the "robertson" variant of bm25s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.base import Mask, TopK
from ragib.indexes.postings import Int32s, Postings
from ragib.indexes.scoring import QueryTerms, Weights, best_positive


def bm25_weights(postings: Postings, count: int, k1: float, b: float) -> Weights:
    """Return what each posting adds to the score of its row, float32 beside `postings.rows`.

    Parameters
    ----------
    postings
        Of live rows only; `lengths` of all other rows are 0.
    count
        The number of live rows, N.
    k1, b
        The parameters of the formula.
    """
    df = np.diff(postings.indptr)
    norm = _norm(postings.lengths, count, k1, b)
    tf = postings.values.astype(np.float32)
    weights: Weights = np.repeat(_idf(df, count), df) * (tf / (tf + norm[postings.rows]))
    return weights


class Bm25:
    """Gives the same weights as `bm25_weights`, for one term at a time.

    Parameters
    ----------
    lengths
        `(n,)` terms a row; 0 for rows that are not live.
    count, k1, b
        As there.
    """

    def __init__(self, lengths: Int32s, count: int, k1: float, b: float) -> None:
        self._count = count
        self._norm = _norm(lengths, count, k1, b)

    def __call__(self, rows: Int32s, values: NDArray[Any]) -> Weights:
        """Return what a term adds to the rows that hold it; see `ragib.indexes.lists.Weigh`."""
        tf = values.astype(np.float32)
        weights: Weights = _idf(np.array(len(rows)), self._count) * (tf / (tf + self._norm[rows]))
        return weights


def _idf(df: NDArray[np.int64], count: int) -> Weights:
    idf: Weights = np.log1p((count - df + 0.5) / (df + 0.5)).astype(np.float32)
    return idf


def _norm(lengths: Int32s, count: int, k1: float, b: float) -> Weights:
    mean = lengths.sum(dtype=np.int64) / max(count, 1)
    norm: Weights = (k1 * (1 - b + b * lengths / max(mean, 1e-9))).astype(np.float32)
    return norm


@dataclass
class RankBm25Scorer:
    """Retrieval by the rank-bm25 library: slow, and there to compare with."""

    postings: Postings
    alive: Mask
    k1: float
    b: float

    def __call__(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query."""
        scores = np.zeros((len(queries), len(self.alive)), np.float32)
        for line, query in zip(scores, queries, strict=True):
            repeated = np.repeat(query.ids, query.weights.astype(np.int64)).tolist()
            line[self.alive] = sum(self._of_term(term) for term in repeated)
        return best_positive(scores, k, allowed)

    def _of_term(self, term: int) -> NDArray[np.float64]:
        # With k1 = 0, or b = 1 and an empty passage, the library divides 0 by 0 where tf is 0.
        with np.errstate(invalid="ignore"):
            scores: NDArray[np.float64] = np.nan_to_num(self._okapi.get_scores([term]))
        return scores

    @cached_property
    def _okapi(self) -> Any:  # noqa: ANN401
        library = require("rank_bm25", "the rank-bm25 engine")
        postings = self.postings
        order = np.argsort(postings.rows, kind="stable")
        term_ids = np.repeat(np.arange(len(postings.terms)), np.diff(postings.indptr))
        bags = np.split(
            np.stack([term_ids, postings.values.astype(np.int64)], axis=1)[order],
            np.cumsum(np.bincount(postings.rows, minlength=len(self.alive)))[:-1],
        )
        corpus = [
            np.repeat(bag[:, 0], bag[:, 1]).tolist()
            for bag, live in zip(bags, self.alive, strict=True)
            if live
        ]
        return library.BM25Okapi(corpus, k1=self.k1, b=self.b, epsilon=0)
