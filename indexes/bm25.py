"""BM25 in the form of Lucene, scored by bm25s; and rank-bm25 as a reference.

With N live passages, df the passages that hold a term, tf its count in a passage of l terms and
avgdl the mean of l, a query term adds

    idf * tf / (tf + k1 * (1 - b + b * l / avgdl)),    idf = ln(1 + (N - df + 0.5) / (df + 0.5)).

(Robertson & Zaragoza 2009; Kamphuis et al. 2020 for the variants; Lù 2024, 2407.03618, for
scoring ahead of the query.) The rank-bm25 engine is its `BM25Okapi` with `epsilon=0`: the idf is
ln((N - df + 0.5) / (df + 0.5)), not below 0, and all scores are k1 + 1 times those of the
"robertson" variant of bm25s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.base import Mask, TopK
from ragib.indexes.postings import Postings
from ragib.indexes.scoring import QueryTerms, Weights, best_positive, one_by_one


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
    idf = np.log1p((count - df + 0.5) / (df + 0.5)).astype(np.float32)
    mean = postings.lengths.sum(dtype=np.int64) / max(count, 1)
    norm = (k1 * (1 - b + b * postings.lengths / max(mean, 1e-9))).astype(np.float32)
    tf = postings.values.astype(np.float32)
    weights: Weights = np.repeat(idf, df) * (tf / (tf + norm[postings.rows]))
    return weights


@dataclass
class Bm25sScorer:
    """Scoring by the bm25s library over weights prepared here.

    Only its scores are taken: its selection leaves open which of several equal rows it returns.
    Its numba backend is not used, since that has to compile for seconds in every process and then
    is hardly faster: 1.1 against 1.5 ms a query over 170,000 passages, with selection.
    """

    postings: Postings
    weights: Weights
    rows: int

    def __call__(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query."""
        return one_by_one(self._scores, queries, k, allowed)

    def _scores(self, query: QueryTerms) -> Weights:
        repeated = np.repeat(query.ids, query.weights.astype(np.int64))
        scores: Weights = self._retriever.get_scores_from_ids(repeated)
        return scores

    @cached_property
    def _retriever(self) -> Any:  # noqa: ANN401
        retriever = bm25s.BM25()
        retriever.nonoccurrence_array = None
        retriever.scores = {
            "data": np.asarray(self.weights),
            "indices": np.asarray(self.postings.rows),
            "indptr": np.asarray(self.postings.indptr),
            "num_docs": self.rows,
        }
        return retriever


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
