"""Silver labels: of several candidate evidence sets, the one with the best IB score.

Candidates are each sentence that holds an answer, all of them together, the sentences that share
the most words with question and answer, and the evidence the record came with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ragib.compressor.ib_score import Kept, score_with_reader
from ragib.compressor.model import EvidenceModel
from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.data import answer_sentences, evidence_sentences
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.text import Span, batched, count_words

Place = tuple[int, Span]
"""The position of a passage in its record, and a sentence of it."""

Scores = Callable[[Sequence[Record], Sequence[Sequence[str]]], list[float]]
"""Gives the IB scores of the sentences kept of each record, lower is better."""

_WORD = re.compile(r"\w+")
_GREEDY = 3
_AT_ONCE = 256


def relabel(
    model: EvidenceModel,
    records: Sequence[Record],
    alpha: float = 1.0,
    progress: Progress | None = None,
) -> list[Record]:
    """Give each record with a known answer the evidence that the evidence model scores best.

    Parameters
    ----------
    model
        The judge of the candidates; trained, or its scores mean nothing.
    records
        Those without answers or candidates come back as they are, and so do questions over
        several passages: a judge that reads one text cannot tell what the hops need.
    alpha
        What the answer weighs against the share of words kept.
    progress
        Called with stage, records done, records in all.
    """

    def scores(asked: Sequence[Record], kept: Sequence[Sequence[str]]) -> list[float]:
        return score_with_reader(
            model,
            [
                Kept(r.question, texts, sum(count_words(p.text) for p in r.passages), r.answers)
                for r, texts in zip(asked, kept, strict=True)
            ],
            alpha,
        )

    made: list[Record] = []
    for batch in batched(records, _AT_ONCE):
        made += label(batch, scores)
        if progress is not None:
            progress("silver labels", len(made), len(records))
    return made


def label(records: Sequence[Record], scores: Scores) -> list[Record]:
    """Return the records with the best candidate as evidence; a tie goes to the shorter one.

    Answers outside the chosen sentences are no longer marked.
    """
    candidates = [candidate_sets(r) if one_hop(r) else [] for r in records]
    asked = [(r, places) for r, sets in zip(records, candidates, strict=True) for places in sets]
    texts = [[place_text(record, place) for place in places] for record, places in asked]
    found = iter(scores([record for record, _ in asked], texts))
    made = []
    for record, sets in zip(records, candidates, strict=True):
        ranked = [(next(found), sum(e - s for _, (s, e) in places), places) for places in sets]
        made.append(_with_evidence(record, min(ranked)[2]) if ranked else record)
    return made


def candidate_sets(record: Record) -> list[tuple[Place, ...]]:
    """Return the distinct candidates, in the order of the module's description."""
    with_answer = [
        (number, span)
        for number, passage in enumerate(record.passages)
        for span in answer_sentences(passage)
    ]
    sets = [*((place,) for place in with_answer), tuple(with_answer), _greedy(record)]
    return [places for places in dict.fromkeys([*sets, labelled(record)]) if places]


def labelled(record: Record) -> tuple[Place, ...]:
    """Return the evidence that a record came with."""
    return tuple(
        (number, span)
        for number, passage in enumerate(record.passages)
        for span in evidence_sentences(passage)
    )


def one_hop(record: Record) -> bool:
    """Say whether a judge that reads one text can tell what a question needs."""
    return bool(record.answers) and sum(p.gold for p in record.passages) == 1


def _greedy(record: Record) -> tuple[Place, ...]:
    """Take, up to three times, the sentence with the most words not yet covered."""
    if not record.answers:
        return ()
    wanted = word_set(record.question) | word_set(record.answers[0])
    pool = [
        (number, span)
        for number, passage in enumerate(record.passages)
        if passage.gold
        for span in sentence_spans(passage.text)
    ]
    chosen: list[Place] = []
    for _ in range(min(_GREEDY, len(pool))):
        best = max(pool, key=lambda place: len(wanted & word_set(place_text(record, place))))
        gained = wanted & word_set(place_text(record, best))
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


def place_text(record: Record, place: Place) -> str:
    """Return a sentence of a record."""
    number, (start, end) = place
    return record.passages[number].text[start:end]


def word_set(text: str) -> set[str]:
    """Return the words of a text, without case."""
    return set(_WORD.findall(text.casefold()))
