"""How much of what answers a question is kept, and how much of the rest is not.

Evidence is what people, or the place of the answer, mark in the passages of a QA record
(`ragib.compressor.training.records`). A marked span counts as kept by its kind:

- `answer-sentence` (one hop): an occurrence of an answer, whole; any one will do;
- `human`: more than half of the span's characters, white space apart, of every span;
- `paragraph` (only the passage is known): something of every span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragib.compressor.training.records import ANSWER_SENTENCE, Record
from ragib.text import Span
from ragib.types import Compressed

Kept = Mapping[str, Sequence[Span]]
"""Passage id -> spans kept of it."""


def evidence_recall(record: Record, kept: Kept) -> float:
    """Return the share of the marked evidence that is kept, in [0, 1].

    Of one-hop questions it is 1 if any occurrence of an answer is kept, else 0. Where nothing is
    marked (see `judged`) it means nothing.
    """
    if record.evidence_kind == ANSWER_SENTENCE:
        found = any(
            covered(p.text, answer, kept.get(p.id, ())) == 1.0
            for p in record.passages
            for answer in p.answers
        )
        return float(found)
    least = 0.0 if record.evidence_kind == "paragraph" else 0.5
    found_all = [
        covered(p.text, wanted, kept.get(p.id, ())) > least
        for p in record.passages
        for wanted in p.evidence
    ]
    return sum(found_all) / len(found_all) if found_all else 1.0


def retained(record: Record, compressed: Compressed) -> bool:
    """Say whether a compressor kept all that answers the question."""
    spans: dict[str, list[Span]] = {}
    for evidence in compressed.evidence:
        spans.setdefault(evidence.passage_id, []).append((evidence.start, evidence.end))
    return evidence_recall(record, spans) == 1.0


def judged(record: Record) -> bool:
    """Say whether the passages hold what answers the question, and it is marked."""
    key = "answers" if record.evidence_kind == ANSWER_SENTENCE else "evidence"
    return any(getattr(passage, key) for passage in record.passages)


def covered(text: str, wanted: Span, kept: Sequence[Span]) -> float:
    """Return the share of a span's characters, white space apart, that is kept."""
    places = [i for i in range(*wanted) if not text[i].isspace()]
    inside = sum(any(start <= i < end for start, end in kept) for i in places)
    return inside / len(places) if places else 0.0
