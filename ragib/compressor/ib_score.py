"""The information-bottleneck score of a compression, in nats a token; lower is better.

    IB(x~) = (1/|x|) log p(x | q, x~, y) - alpha (1/|y|) log p(y | q, x~)

How well the whole passages x can be told from what was kept of them, against how well the answer y
can (Zhu et al. 2024, arXiv:2406.01549). `variant="paper"` takes probabilities (geometric means a
token) where this form takes logarithms. With the evidence model as the judge, p(y | q, x~) is the
marginal probability of the spans that read y, and the first term is the share of words kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ragib.compressor.model import EvidenceModel
from ragib.compressor.reading import ANSWER_TOKENS, Reading, read, texts_of
from ragib.extras import require
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


class Scorer(Protocol):
    """A language model that says how probable a text is after another."""

    def __call__(self, context: str, target: str) -> LogProbability:
        """Return log p(target | context)."""
        ...


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
    question: str,
    passages: str,
    kept: str,
    answer: str,
    alpha: float | None = None,
    variant: Variant = "log",
) -> float:
    """Score what was kept of passages by a language model."""
    context = f"{kept}\n\nQuestion: {question}\nAnswer:"
    return ib_score(
        scorer(f"{context} {answer}\n\nSource:", f" {passages}"),
        scorer(context, f" {answer}"),
        alpha,
        variant,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept for a question: texts of the kept sentences, and words in all its passages."""

    question: str
    sentences: Sequence[str]
    words_in: int
    answers: Sequence[str]


def score_with_reader(
    model: EvidenceModel, candidates: Sequence[Kept], alpha: float = 1.0
) -> list[float]:
    """Score by the evidence model: kept share - alpha log p(y | q, x~); one score a candidate.

    An answer that is not in what was kept has the probability of one token chosen blindly.
    """
    texts = ["\n".join(kept.sentences) for kept in candidates]
    asked = [(kept.question, [("", text)]) for kept, text in zip(candidates, texts, strict=True)]
    readings = read(model, [row[0] for row in texts_of(model, asked)])
    scores = []
    for kept, text, reading in zip(candidates, texts, readings, strict=True):
        share = count_words(text) / max(1, kept.words_in)
        floor = math.log(1 / (1 + len(reading.tokens)))
        scores.append(share - alpha * max(floor, marginal(reading, text, kept.answers)))
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


def transformers_scorer(model: Any, tokenizer: Any) -> Scorer:  # noqa: ANN401
    """Score by a causal language model of the transformers library."""
    torch = require("torch", "the IB score")

    def score(context: str, target: str) -> LogProbability:
        before, after = _ids(tokenizer, context, target)
        ids = torch.tensor([[*before, *after]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1].float()
        rows = torch.log_softmax(logits, dim=-1)[len(before) - 1 :]
        chosen = rows.gather(1, ids[0, len(before) :, None])
        return LogProbability(float(chosen.sum()), len(after))

    return score


def vllm_scorer(engine: Any) -> Scorer:  # noqa: ANN401
    """Score by a `vllm.LLM`, through the log-probabilities of its prompt's tokens."""
    vllm = require("vllm", "the IB score")
    tokenizer = engine.get_tokenizer()
    params = vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)

    def score(context: str, target: str) -> LogProbability:
        before, after = _ids(tokenizer, context, target)
        ids = [*before, *after]
        [output] = engine.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
        rows = output.prompt_logprobs[len(before) :]
        nats = sum(row[token].logprob for row, token in zip(rows, after, strict=True))
        return LogProbability(float(nats), len(after))

    return score


def _ids(tokenizer: Any, context: str, target: str) -> tuple[list[int], list[int]]:  # noqa: ANN401
    """Tokenise the two apart, so that the boundary lies where it is meant to."""
    before = tokenizer(context).input_ids
    return before, tokenizer(target, add_special_tokens=False).input_ids


def _log_softmax(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Normalise log-odds against "nowhere", whose own is 0."""
    if not len(scores):
        return scores
    return np.asarray(scores - np.logaddexp.reduce(np.append(scores, 0.0)))
