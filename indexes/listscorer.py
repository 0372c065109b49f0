"""Questions against term lists: in compiled loops, or in NumPy until compiling them pays."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ragib.extras import installed
from ragib.indexes.accumulate import WINDOW, compiled
from ragib.indexes.base import Mask, TopK
from ragib.indexes.lists import TermList, TermLists
from ragib.indexes.postings import Int32s
from ragib.indexes.scoring import Weights, best_positive
from ragib.indexes.topk import empty

PATIENCE = 5000
"""Questions a process answers in NumPy before the loops are compiled.

Measured on 170,000 passages: compiling takes 2 s, and saves 0.3 ms a question.
"""

_answered = 0

Rows = NDArray[np.int64]
Asked = Sequence[tuple[TermList, float]]
"""Lists of terms, each with the weight of its term in the question, above 0."""


class ListScorer:
    """Finds the best rows for questions given as terms with weights; may be shared by threads.

    Parameters
    ----------
    lists
        Of all terms.
    patience
        How many questions the process answers before it compiles anything; may be changed.
    """

    def __init__(self, lists: TermLists, patience: float = PATIENCE) -> None:
        self._lists = lists
        self.patience = patience
        self._can_compile = installed("numba")
        self._local = threading.local()

    def __call__(self, bags: Sequence[Mapping[str, float]], k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows above 0 of each question; ties are broken by the smaller row."""
        global _answered
        _answered += len(bags)
        fast = self._can_compile and _answered > self.patience
        best = self._by_numba if fast else self._by_numpy
        found = empty(len(bags), k)
        for i, bag in enumerate(bags):
            pairs = ((self._lists.find(term), weight) for term, weight in bag.items())
            asked = [(held, weight) for held, weight in pairs if held is not None]
            if asked:
                best(asked, allowed, found.rows[i], found.scores[i])
        return found

    def rows_of(self, term: str) -> Int32s:
        """Return the live rows that hold a term, ascending."""
        found = self._lists.find(term)
        return self._lists.rows[:0] if found is None else self._lists.rows[found.start : found.stop]

    def _by_numba(self, asked: Asked, allowed: Mask | None, rows: Rows, best: Weights) -> None:
        lists = self._lists
        # Arrays that may be written and others are different types, compiled one by one.
        flags = np.zeros(0, np.bool_) if allowed is None else allowed.view()
        flags.flags.writeable = False
        count = compiled()(
            lists.rows,
            lists.weights,
            np.array([found.start for found, _ in asked], np.int64),
            np.array([found.stop for found, _ in asked], np.int64),
            np.array([weight for _, weight in asked], np.float32),
            flags,
            len(lists.alive),
            self._scratch(WINDOW),
            rows,
            best,
        )
        rows[count:], best[count:] = -1, -np.inf

    def _by_numpy(self, asked: Asked, allowed: Mask | None, rows: Rows, best: Weights) -> None:
        scores = self._scratch(len(self._lists.alive))
        scores.fill(0)
        for found, weight in asked:
            here = slice(found.start, found.stop)
            # A list has each row once, so plain indexing adds every posting.
            scores[self._lists.rows[here]] += np.float32(weight) * self._lists.weights[here]
        top = best_positive(scores[None], len(rows), allowed)
        rows[:], best[:] = top.rows[0], top.scores[0]

    def _scratch(self, size: int) -> Weights:
        # Memory that is new to a process is slower to write than to add up a question in.
        scores: Weights | None = getattr(self._local, "scores", None)
        if scores is None or len(scores) != size:
            scores = self._local.scores = np.empty(size, np.float32)
        return scores
