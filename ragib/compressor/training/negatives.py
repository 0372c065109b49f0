"""Distractors for questions that come with one passage: likely passages without the answer.

They are the passages of the data set that BM25 ranks first for the question, then others under the
same title; the question's own passage and all that hold one of its answers are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import bm25s
import numpy as np

from ragib.compressor.training.records import LabelledPassage, Record
from ragib.indexes.terms import terms

COUNT = 4
"""Distractors a question."""

_DEPTH = 16
_LANGUAGE = "english"


class Negatives:
    """The passages of a data set, each once, to draw distractors from."""

    def __init__(self, passages: Sequence[LabelledPassage]) -> None:
        distinct = {p.id: replace(p, gold=False, answers=(), evidence=()) for p in passages}
        self._passages = list(distinct.values())
        self._by_title: dict[str, list[int]] = defaultdict(list)
        for number, passage in enumerate(self._passages):
            self._by_title[passage.title].append(number)
        bags = [terms(passage.text, _LANGUAGE) for passage in self._passages]
        self._known = frozenset(term for bag in bags for term in bag)
        self._engine = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
        if self._known:
            self._engine.index(bags, show_progress=False)

    def add_to(self, record: Record) -> Record:
        """Return the record with at most `COUNT` distractors behind its own passages."""
        own = {passage.id for passage in record.passages}
        holds = _holds_one_of(record.answers)
        drawn: dict[str, LabelledPassage] = {}
        for number in self._candidates(record):
            passage = self._passages[number]
            if passage.id not in own and not holds(passage.text):
                drawn[passage.id] = passage
            if len(drawn) == COUNT:
                break
        return replace(record, passages=(*record.passages, *drawn.values()))

    def _candidates(self, record: Record) -> Iterator[int]:
        wanted = [t for t in terms(record.question, _LANGUAGE) if t in self._known]
        if wanted:
            scores = self._engine.get_scores(wanted)
            depth = min(_DEPTH, len(scores))
            best = np.argpartition(-scores, depth - 1)[:depth]
            order = sorted(best.tolist(), key=lambda number: (-scores[number], number))
            yield from (number for number in order if scores[number] > 0)
        for passage in record.passages:
            yield from self._by_title[passage.title]


def _holds_one_of(answers: Sequence[str]) -> Callable[[str], bool]:
    if not answers:
        return lambda text: False
    choice = "|".join(map(re.escape, answers))
    pattern = re.compile(rf"(?<!\w)(?:{choice})(?!\w)", re.IGNORECASE)
    return lambda text: pattern.search(text) is not None
