"""Reading passages for a question: token logits first, then three numbers a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.model import EvidenceModel
from ragib.compressor.windows import (
    Ids,
    Pair,
    Tokens,
    by_length,
    collate,
    make_pair,
    make_prefix,
    tokenise,
    windows,
)
from ragib.extras import require
from ragib.text import Span

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 2048
ANSWER_TOKENS = 30
NO_IDS: Ids = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Text:
    """What is read together: question, evidence already kept (may be empty), title, passage."""

    question: Ids
    evidence: Ids
    title: Ids
    passage: Tokens


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model makes of one passage of `t` tokens.

    `keep`, `start` and `end` are `(t,)` float32. `keep` is the logit of the token carrying
    evidence; `start` and `end` are log-odds of the answer beginning or ending there against its
    being nowhere in the passage. `relevance` is the logit of the passage being relevant.
    """

    tokens: Tokens
    relevance: float
    keep: NDArray[np.float32]
    start: NDArray[np.float32]
    end: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Characters of the passage, with the log-odds of the answer being there."""

    start: int
    end: int
    score: float


def head(title: str) -> str:
    """Return what is read in front of a passage."""
    return f"{title}:" if title else ""


def read(model: EvidenceModel, texts: Sequence[Text]) -> list[Reading]:
    """Read texts in batches of similar length; one reading a text, in their order.

    Passages longer than a sequence are read in overlapping windows: a token in two of them gets
    the larger of its logits, a passage the largest relevance. Where the processor computes in
    bfloat16, so does this (logits differ by about 0.01).
    """
    torch = require("torch", "the trained compressor")
    pairs: list[Pair] = []
    places: list[tuple[int, int]] = []
    size, overlap = model.settings.max_tokens, model.settings.overlap
    for number, text in enumerate(texts):
        prefix = make_prefix(model.special, size, text.question, text.evidence, text.title)
        space = prefix.room(size)
        for first, last in windows(len(text.passage), space, min(overlap, space // 2)):
            pairs.append(make_pair(model.special, prefix, text.passage.ids[first:last]))
            places.append((number, first))
    readings = [_nothing(text.passage) for text in texts]
    relevance = [float("-inf")] * len(texts)
    for group in by_length([len(pair.ids) for pair in pairs], BATCH_TOKENS):
        with torch.inference_mode(), half_precision(model.device):
            out = model.forward(collate([pairs[i] for i in group], model.special.pad))
        passage = out.relevance.cpu().numpy()
        keep, start, end = (x.cpu().numpy() for x in (out.keep, out.start, out.end))
        for row, i in enumerate(group):
            number, first = places[i]
            relevance[number] = max(relevance[number], float(passage[row]))
            inside = slice(pairs[i].body, len(pairs[i].ids) - 1)
            reading = readings[number]
            for whole, part, null in (
                (reading.keep, keep[row], 0.0),
                (reading.start, start[row], start[row, 0]),
                (reading.end, end[row], end[row, 0]),
            ):
                target = whole[first : first + inside.stop - inside.start]
                np.maximum(target, part[inside] - null, out=target)
    return [
        Reading(r.tokens, score, r.keep, r.start, r.end)
        for r, score in zip(readings, relevance, strict=True)
    ]


def half_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return a context that computes in bfloat16 if the device does so in hardware."""
    torch = require("torch", "the trained compressor")
    if device.type == "cpu":
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        able = known.get("avx512_bf16", False)
    else:
        able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=able
    )
    return context


def sentence_features(reading: Reading, sentences: Sequence[Span]) -> NDArray[np.float32]:
    """Return three log-odds of every sentence, `(n, 3)` float32.

    These are its own (of the mean keep-probability of its tokens), its passage's relevance, and
    the best answer span's that begins and ends in it.
    """
    features = np.empty((len(sentences), 3), np.float32)
    for row, (begin, finish) in enumerate(sentences):
        inside = reading.tokens.within(begin, finish)
        if inside.start == inside.stop:
            features[row] = (_LOWEST, reading.relevance, 2 * _LOWEST)
            continue
        kept = float(np.mean(1 / (1 + np.exp(-reading.keep[inside].astype(np.float64)))))
        features[row, 0] = np.log(kept) - np.log1p(-kept) if 0 < kept < 1 else _LOWEST
        features[row, 1] = reading.relevance
        features[row, 2] = best_span(reading.start[inside], reading.end[inside])[2]
    return np.clip(features, 2 * _LOWEST, -2 * _LOWEST)


def best_span(
    start: NDArray[np.float32], end: NDArray[np.float32], longest: int = ANSWER_TOKENS
) -> tuple[int, int, float]:
    """Return the first and last token, and score, of the best span of at most `longest` tokens."""
    best = (0, 0, float("-inf"))
    for length in range(min(longest, len(start))):
        scores = start[: len(start) - length] + end[length:]
        first = int(np.argmax(scores))
        if scores[first] > best[2]:
            best = (first, first + length, float(scores[first]))
    return best


def answer_span(reading: Reading, sentence: Span) -> AnswerSpan | None:
    """Return the best answer within a sentence; none if no token of it was read."""
    inside = reading.tokens.within(*sentence)
    if inside.start == inside.stop:
        return None
    first, last, score = best_span(reading.start[inside], reading.end[inside])
    spans = reading.tokens.spans[inside]
    return AnswerSpan(int(spans[first, 0]), int(spans[last, 1]), score)


def texts_of(
    model: EvidenceModel, asked: Sequence[tuple[str, Sequence[tuple[str, str]]]]
) -> list[list[Text]]:
    """Tokenise questions with the `(title, text)` of their passages, each text once."""
    known = dict.fromkeys(question for question, _ in asked)
    for _, passages in asked:
        for title, text in passages:
            known |= {head(title): None, text: None}
    tokens = dict(zip(known, tokenise(model.tokenizer, list(known)), strict=True))
    return [
        [
            Text(tokens[question].ids, NO_IDS, tokens[head(title)].ids, tokens[text])
            for title, text in passages
        ]
        for question, passages in asked
    ]


_LOWEST = -15.0


def _nothing(tokens: Tokens) -> Reading:
    low = float("-inf")
    keep, start, end = (np.full(len(tokens), low, np.float32) for _ in range(3))
    return Reading(tokens, low, keep, start, end)
