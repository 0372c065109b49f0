"""Silver labels: of several candidate evidence sets, the one with the best IB score.

Candidates are each sentence that holds an answer, all of them together, the sentences that share
the most words with question and answer, and the evidence the record came with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.data import evidence_sentences
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.text import Span

Place = tuple[int, Span]
"""The position of a passage in its record, and a sentence of it."""

Score = Callable[[Record, Sequence[str]], float]
"""Gives the IB score of kept sentences, lower is better."""

_WORD = re.compile(r"\w+")
_GREEDY = 3


def label(record: Record, score: Score) -> Record:
    """Return a record whose evidence is the best candidate; a tie goes to the shorter one.

    Answers outside the chosen sentences are no longer marked. A record without candidates comes
    back as it is.
    """
    candidates = candidate_sets(record)
    if not candidates:
        return record
    texts = [[record.passages[p].text[s:e] for p, (s, e) in places] for places in candidates]
    best = min(
        range(len(candidates)),
        key=lambda i: (score(record, texts[i]), sum(map(len, texts[i]))),
    )
    return _with_evidence(record, candidates[best])


def candidate_sets(record: Record) -> list[tuple[Place, ...]]:
    """Return the distinct candidates, in the order of the module's description."""
    with_answer = [
        (number, span)
        for number, passage in enumerate(record.passages)
        if passage.answers
        for span in evidence_sentences(passage)
    ]
    labelled = [
        (number, span)
        for number, passage in enumerate(record.passages)
        for span in evidence_sentences(passage)
    ]
    sets = [*((place,) for place in with_answer), tuple(with_answer), _greedy(record)]
    return [places for places in dict.fromkeys([*sets, tuple(labelled)]) if places]


def _greedy(record: Record) -> tuple[Place, ...]:
    """Take, up to three times, the sentence with the most words not yet covered."""
    if not record.answers:
        return ()
    wanted = _words(record.question) | _words(record.answers[0])
    pool = [
        (number, span)
        for number, passage in enumerate(record.passages)
        if passage.gold
        for span in sentence_spans(passage.text)
    ]
    chosen: list[Place] = []
    for _ in range(min(_GREEDY, len(pool))):
        best = max(pool, key=lambda place: len(wanted & _words(_text(record, place))))
        gained = wanted & _words(_text(record, best))
        if not gained:
            break
        chosen.append(best)
        pool.remove(best)
        wanted -= gained
    return tuple(sorted(chosen))


def _with_evidence(record: Record, places: Sequence[Place]) -> Record:
    passages: list[LabelledPassage] = []
    for number, passage in enumerate(record.passages):
        spans = tuple(span for where, span in places if where == number)
        answers = tuple(
            a for a in passage.answers if any(s <= a[0] and a[1] <= e for s, e in spans)
        )
        passages.append(replace(passage, evidence=spans, answers=answers))
    return replace(record, passages=tuple(passages))


def _text(record: Record, place: Place) -> str:
    number, (start, end) = place
    return record.passages[number].text[start:end]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
