"""The information-bottleneck score of a compression, in nats a token; lower is better.

    IB(x~) = (1/|x|) log p(x | q, x~, y) - alpha (1/|y|) log p(y | q, x~)

How well the whole passages x can be told from what was kept of them, against how well the answer y
can (Zhu et al. 2024, arXiv:2406.01549). `variant="paper"` takes probabilities (geometric means a
token) where this form takes logarithms. With the evidence model as the judge, p(y | q, x~) is the
marginal probability of the spans that read y, and the first term is the share of words kept.
Language models that judge are in `ragib.compressor.scorers`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ragib.compressor.model import EvidenceModel
from ragib.compressor.reading import ANSWER_TOKENS, Reading, read, texts_of
from ragib.text import count_words

Variant = Literal["log", "paper"]
_ALPHA: dict[Variant, float] = {"log": 1.0, "paper": 10.0}


@dataclass(frozen=True, slots=True)
class LogProbability:
    """The log-probability of a text in nats, and how many tokens it is the sum of."""

    nats: float
    tokens: int

    def a_token(self) -> float:
        """Return nats a token; 0 for an empty text."""
        return self.nats / self.tokens if self.tokens else 0.0


Scorer = Callable[[Sequence[Sequence[str]]], list[list[LogProbability]]]
"""A language model that reads texts, each in pieces that are tokenised apart, and gives for each
the log-probability of every piece after those before it. The first token of a text has none."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept for a question: texts of the kept sentences, and words in all its passages.

    `passages` are the texts of these, for a language model to read.
    """

    question: str
    sentences: Sequence[str]
    words_in: int
    answers: Sequence[str]
    passages: Sequence[str] = ()


Judge = Callable[[Sequence[Kept]], list[float]]
"""Gives the IB scores of candidates, lower is better."""


def ib_score(
    passages: LogProbability,
    answer: LogProbability,
    alpha: float | None = None,
    variant: Variant = "log",
) -> float:
    """Combine log p(x | q, x~, y) and log p(y | q, x~).

    `alpha` is 1, or 10 in the published form, unless given.
    """
    first, second = passages.a_token(), answer.a_token()
    if variant == "paper":
        first, second = math.exp(first), math.exp(second)
    weight = _ALPHA[variant] if alpha is None else alpha
    return first - weight * second


def score_with_lm(
    scorer: Scorer,
    candidates: Sequence[Kept],
    alpha: float | None = None,
    variant: Variant = "log",
) -> list[float]:
    """Score by a language model, from the first of the right answers; one score a candidate.

    Kept sentences, question, answer and passages are read as one text, so both probabilities
    come out of one reading.
    """
    texts = []
    for kept in candidates:
        evidence = "\n".join(kept.sentences)
        context = f"{evidence}\n\nQuestion: {kept.question}\nAnswer:"
        answer = f" {kept.answers[0]}" if kept.answers else ""
        texts.append((context, answer, "\n\nSource:", f" {' '.join(kept.passages)}"))
    return [ib_score(passages, answer, alpha, variant) for _, answer, _, passages in scorer(texts)]


def score_with_reader(
    model: EvidenceModel, candidates: Sequence[Kept], alpha: float = 1.0
) -> list[float]:
    """Score by the evidence model: kept share - alpha log p(y | q, x~); one score a candidate.

    An answer that is not in what was kept has the probability of one token of it chosen blindly, or
    of one word of the passages if nothing was kept. Without answers the score is the share alone.
    """
    texts = ["\n".join(kept.sentences) for kept in candidates]
    asked = [(kept.question, [("", text)]) for kept, text in zip(candidates, texts, strict=True)]
    readings = read(model, [row[0] for row in texts_of(model, asked)])
    scores = []
    for kept, text, reading in zip(candidates, texts, readings, strict=True):
        share = count_words(text) / max(1, kept.words_in)
        floor = -math.log(1 + (len(reading.tokens) or kept.words_in))
        found = max(floor, marginal(reading, text, kept.answers)) if kept.answers else 0.0
        scores.append(share - alpha * found)
    return scores


def marginal(reading: Reading, text: str, answers: Sequence[str]) -> float:
    """Return the log of the total probability of the spans of `text` that read an answer."""
    start, end = _log_softmax(reading.start), _log_softmax(reading.end)
    total = float("-inf")
    for answer in dict.fromkeys(a.casefold() for a in answers if a.strip()):
        for match in re.finditer(re.escape(answer), text.casefold()):
            inside = reading.tokens.within(*match.span())
            if 0 < inside.stop - inside.start <= ANSWER_TOKENS:
                span = float(start[inside.start] + end[inside.stop - 1])
                total = float(np.logaddexp(total, span))
    return total


def _log_softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Normalise log-odds against "nowhere", whose own is 0."""
    if not len(scores):
        return scores
    return np.asarray(scores - np.logaddexp.reduce(np.append(scores, 0.0)))
