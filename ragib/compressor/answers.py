"""Answers from the kept evidence: the best span of the evidence model, or none.

The evidence of a passage is read together, behind the passage's title. A span counts by the
log-odds of the answer being there against its being nowhere, plus the log-odds of what was read
being relevant, so that spans of different passages compare. Evidence that the compressor was less
sure of than of the best counts less, by the difference of the log-odds: it has seen the whole
passage, and the reader has not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragib.compressor.model import EvidenceModel
from ragib.compressor.reading import answer_span, read, texts_of
from ragib.types import Evidence

_LEAST = 1e-3
"""Probabilities are taken to be at least so far from 0 and 1."""


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """A verbatim span: `evidence` is its number, `start` and `end` count within its text.

    `score` are log-odds against there being no answer; `confidence` is their probability.
    """

    evidence: int
    start: int
    end: int
    text: str
    score: float

    @property
    def confidence(self) -> float:
        """Return the probability that belongs to the score."""
        return 1 / (1 + math.exp(-self.score)) if self.score > -700 else 0.0


def find_answers(
    model: EvidenceModel,
    asked: Sequence[tuple[str, Sequence[Evidence]]],
    titles: Mapping[str, str] | None = None,
) -> list[FoundAnswer | None]:
    """Answer questions from evidence.

    Parameters
    ----------
    model
        The evidence model.
    asked
        Questions with their evidence.
    titles
        Passage id -> title of its document.

    Returns
    -------
    list
        The best span of each question, however low its score, so that callers choose where to
        abstain (a score below 0 means that no answer is more likely); `None` without evidence.
    """
    names = titles or {}
    groups = [_by_passage(evidence) for _, evidence in asked]
    texts = texts_of(
        model,
        [
            (question, [(names.get(name, ""), text) for name, text, _ in group])
            for (question, _), group in zip(asked, groups, strict=True)
        ],
    )
    readings = iter(read(model, [text for row in texts for text in row]))
    answers: list[FoundAnswer | None] = []
    for (_, evidence), group in zip(asked, groups, strict=True):
        best: FoundAnswer | None = None
        behind = _behind([piece.score for piece in evidence])
        for _, _, places in group:
            reading = next(readings)
            for number, start in places:
                text = evidence[number].text
                span = answer_span(reading, (start, start + len(text)))
                if span is None:
                    continue
                score = span.score + reading.relevance - behind[number]
                if best is None or score > best.score:
                    first = max(0, span.start - start)
                    last = min(len(text), span.end - start)
                    best = FoundAnswer(number, first, last, text[first:last], score)
        answers.append(best)
    return answers


def _behind(scores: Sequence[float]) -> list[float]:
    """Return by how many log-odds each probability is below the highest."""
    certain = [min(max(score, _LEAST), 1 - _LEAST) for score in scores]
    odds = [math.log(p / (1 - p)) for p in certain]
    return [max(odds) - one for one in odds]


def _by_passage(
    evidence: Sequence[Evidence],
) -> list[tuple[str, str, list[tuple[int, int]]]]:
    """Join the evidence of each passage; returns id, text, and number and start of each piece."""
    joined: dict[str, tuple[str, list[tuple[int, int]]]] = {}
    for number, piece in enumerate(evidence):
        text, places = joined.get(piece.passage_id, ("", []))
        text = f"{text} " if text else text
        joined[piece.passage_id] = (f"{text}{piece.text}", [*places, (number, len(text))])
    return [(name, text, places) for name, (text, places) in joined.items()]
