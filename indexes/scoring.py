"""Scoring queries against postings whose weights are known: a sum of products per row."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.base import Mask, TopK
from ragib.indexes.postings import Int32s, Postings
from ragib.indexes.topk import merge, select

Weights = NDArray[np.float32]

_QUERIES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query as distinct numbers of terms, `(t,)` int32, and their weights, `(t,)` float32."""

    ids: Int32s
    weights: Weights


class Scorer(Protocol):
    """Finds the rows that score above zero and are allowed, for queries of at least one term."""

    def __call__(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query."""
        ...


def best_positive(scores: Weights, k: int, allowed: Mask | None) -> TopK:
    """Select the best `k` of `(q, n)` scores that are above zero and allowed."""
    return select(scores if allowed is None else scores * allowed, k, floor=0)


@dataclass
class CsrScorer:
    """Multiplies a sparse matrix of rows by terms with batches of queries on a torch device."""

    postings: Postings
    weights: Weights
    rows: int
    device: str

    def __call__(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query."""
        found = [
            self._batch(queries[start : start + _QUERIES_AT_ONCE], k, allowed)
            for start in range(0, len(queries), _QUERIES_AT_ONCE)
        ]
        return TopK(
            np.concatenate([result.rows for result in found]),
            np.concatenate([result.scores for result in found]),
        )

    def _batch(self, queries: Sequence[QueryTerms], k: int, allowed: Mask | None) -> TopK:
        torch = require("torch", "sparse search on a GPU")
        dense = np.zeros((len(self.postings.terms), len(queries)), np.float32)
        for i, query in enumerate(queries):
            dense[query.ids, i] = query.weights
        scores = (self._matrix @ torch.from_numpy(dense).to(self.device)).T.contiguous()
        scores.masked_fill_(scores <= 0, -torch.inf)
        if allowed is not None:
            scores.masked_fill_(torch.from_numpy(~allowed).to(self.device), -torch.inf)
        values, rows = scores.topk(min(k, self.rows))
        hits = TopK(rows.cpu().numpy(), values.cpu().numpy())
        return merge([TopK(np.where(hits.scores == -np.inf, -1, hits.rows), hits.scores)], k)

    @cached_property
    def _matrix(self) -> Any:  # noqa: ANN401
        torch = require("torch", "sparse search on a GPU")
        indptr, rows = np.asarray(self.postings.indptr), np.asarray(self.postings.rows)
        term_of = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
        order = np.argsort(rows, kind="stable")
        starts = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=self.rows))))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            return torch.sparse_csr_tensor(
                torch.from_numpy(starts.astype(np.int64)),
                torch.from_numpy(term_of[order].astype(np.int64)),
                torch.from_numpy(np.array(self.weights[order], np.float32)),
                size=(self.rows, len(self.postings.terms)),
                check_invariants=True,
            ).to(self.device)
