"""The weighted postings of single terms over all segments, made when a term is first asked for.

So opening an index costs the reading of its terms, however many segments it has and whatever was
added to it: no posting is looked at before a question has its term.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ragib.indexes.base import Mask
from ragib.indexes.postings import Int32s, Postings
from ragib.indexes.scoring import Weights


@dataclass(frozen=True, slots=True)
class TermList:
    """Where the live rows that hold a term are in the arrays of `TermLists`: `start:stop`."""

    start: int
    stop: int


class Weigh(Protocol):
    """Turns the values of one term's postings into weights."""

    def __call__(self, rows: Int32s, values: NDArray[Any]) -> Weights:
        """Return `(n,)` float32 for the `(n,)` values of all live rows that hold the term."""
        ...


def as_they_are(rows: Int32s, values: NDArray[Any]) -> Weights:
    """Take values for weights: those of a learned encoder."""
    return np.asarray(values, np.float32)


class TermLists:
    """The lists of the terms of some segments; may be shared by threads.

    Parameters
    ----------
    segments
        Postings whose rows are numbered through, segment after segment.
    alive
        A flag for each of these rows.
    weigh
        Gives the weights of a term.

    Attributes
    ----------
    rows, weights
        `(p,)` int32 and float32, one place a posting; lists are written as they are made, and
        what nobody asked for takes no memory.
    """

    def __init__(self, segments: Sequence[Postings], alive: Mask, weigh: Weigh) -> None:
        size = sum(len(postings.rows) for postings in segments)
        self.rows: Int32s = np.empty(size, np.int32)
        self.weights: Weights = np.empty(size, np.float32)
        self.alive = alive
        self._weigh = weigh
        self._made: dict[str, TermList] = {}
        self._free = 0
        self._lock = threading.Lock()
        self._places: list[tuple[Postings, np.int32, Mask | None]] = []
        first = 0
        for postings in segments:
            part = alive[first : first + len(postings.lengths)]
            self._places.append((postings, np.int32(first), None if part.all() else part))
            first += len(part)

    def find(self, term: str) -> TermList | None:
        """Return the list of a term, or `None` if no live row holds it."""
        found = self._made.get(term)
        if found is None:
            with self._lock:
                found = self._made.get(term) or self._make(term)
        return found

    def _make(self, term: str) -> TermList | None:
        start = stop = self._free
        values = []
        for postings, first, alive in self._places:
            i = bisect_left(postings.terms, term)
            if i == len(postings.terms) or postings.terms[i] != term:
                continue
            here = slice(postings.indptr[i], postings.indptr[i + 1])
            rows, value = postings.rows[here], postings.values[here]
            _check(rows, len(postings.lengths))
            if alive is not None:
                held = alive[rows]
                rows, value = rows[held], value[held]
            stop += len(rows)
            np.add(rows, first, out=self.rows[stop - len(rows) : stop])
            values.append(value)
        if start == stop:
            return None
        self.weights[start:stop] = self._weigh(self.rows[start:stop], np.concatenate(values))
        found = self._made[term] = TermList(start, stop)
        self._free = stop
        return found


def _check(rows: Int32s, count: int) -> None:
    """Refuse rows that compiled loops, which check nothing, would write outside memory for."""
    if len(rows) and not (rows[0] >= 0 and rows[-1] < count and (rows[1:] > rows[:-1]).all()):
        raise ValueError(f"the rows of a term are not ascending numbers below {count}")
