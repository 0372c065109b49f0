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

from ragib.extras import installed, require
from ragib.indexes.base import Mask, TopK
from ragib.indexes.postings import Postings
from ragib.indexes.scoring import QueryTerms, Weights, best_positive
from ragib.indexes.topk import empty, rank

# Compiling takes seconds, which a large batch earns back.
_COMPILE_FROM = 256
_SPARE = 16


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
    idf = np.log1p((count - df + 0.5) / (df + 0.5))
    mean = postings.lengths.sum(dtype=np.int64) / max(count, 1)
    norm = k1 * (1 - b + b * postings.lengths / max(mean, 1e-9))
    tf = postings.values.astype(np.float64)
    weights: Weights = (np.repeat(idf, df) * (tf / (tf + norm[postings.rows]))).astype(np.float32)
    return weights


@dataclass
class Bm25sScorer:
    """Retrieval by the bm25s library over weights prepared here."""

    postings: Postings
    weights: Weights
    rows: int

    def __call__(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query."""
        ids = [np.repeat(query.ids, query.weights.astype(np.int64)).tolist() for query in queries]
        if len(queries) >= _COMPILE_FROM and installed("numba"):
            return self._compiled(ids, k, allowed)
        return self._plain(ids, k, allowed)

    def _plain(self, ids: list[list[int]], k: int, allowed: Mask | None) -> TopK:
        found = empty(len(ids), k)
        for i, query in enumerate(ids):
            best = best_positive(self._numpy.get_scores_from_ids(query)[None], k, allowed)
            found.rows[i], found.scores[i] = best.rows[0], best.scores[0]
        return found

    def _compiled(self, ids: list[list[int]], k: int, allowed: Mask | None) -> TopK:
        wide = min(k + _SPARE, self.rows)
        result = self._numba.retrieve(
            ids,
            k=wide,
            show_progress=False,
            weight_mask=None if allowed is None else allowed.astype(np.float32),
        )
        rows, scores = result.documents.astype(np.int64), result.scores
        best = rank(np.where(scores > 0, rows, -1), scores, k)
        # bm25s leaves open which of several equal rows it returns. The spare results show whether
        # the last place is tied; a tie wider than that is settled from all scores.
        if wide < self.rows:
            tied = np.flatnonzero((scores[:, k - 1] > 0) & (scores[:, k - 1] == scores[:, -1]))
            exact = self._plain([ids[i] for i in tied], k, allowed)
            best.rows[tied], best.scores[tied] = exact.rows, exact.scores
        return best

    @cached_property
    def _numpy(self) -> Any:  # noqa: ANN401
        return self._retriever("numpy")

    @cached_property
    def _numba(self) -> Any:  # noqa: ANN401
        return self._retriever("numba")

    def _retriever(self, backend: str) -> Any:  # noqa: ANN401
        retriever = bm25s.BM25(backend=backend, auto_compile=False)
        retriever.vocab_dict = {}
        retriever.unique_token_ids_set = range(len(self.postings.terms))
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
            line[self.alive] = self._okapi.get_scores(repeated)
        return best_positive(scores, k, allowed)

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
