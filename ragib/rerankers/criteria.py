"""Criteria: the model scores a passage by several criteria, and the sum is taken here.

What is most relevant is not always what answers best: LeVine and Varjavand 2025, "Relevance isn't
all you need: scaling RAG systems with inference-time compute via multi-criteria reranking",
arXiv:2504.07104. There the model adds up; here it only judges, and the score of a passage is
Σ wᵢ sᵢ / Σ wᵢ over criteria i with weights wᵢ and scores sᵢ in [0, 10].
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ragib.generators.completing import Completer
from ragib.rerankers.asking import FENCED, MOST, LanguageModelJudge
from ragib.text import one_line

_TOKENS = 24
"""For one criterion and its score."""


def criteria(completer: Completer, weights: Mapping[str, float]) -> LanguageModelJudge:
    """Return the judge that asks for a score by every criterion, all in one call a passage."""
    named = {one_line(name): weight for name, weight in weights.items()}
    example = json.dumps(dict.fromkeys(named, 0), ensure_ascii=False)
    task = (
        "You judge a passage that was found for a question, by several criteria. The passage "
        f"comes in a block. {FENCED}\nReply with one JSON object and nothing else, of the shape "
        f"{example}, where each number is a whole one from 0 (not at all) to 10 (fully)."
    )
    return LanguageModelJudge(
        "criteria",
        completer,
        1,
        task,
        "Scores of the passage, as JSON:",
        _TOKENS * len(named) + _TOKENS,
        partial(read_criteria, named),
    )


def read_criteria(weights: Mapping[str, float], text: str, passages: int = 1) -> list[float | None]:
    """Return the weighted mean of the first JSON object that has a score by every criterion."""
    for found in _objects(text):
        total = 0.0
        for name, weight in weights.items():
            score: Any = found.get(name)
            if type(score) not in (int, float) or not 0 <= score <= MOST:
                break
            total += weight * score
        else:
            return [total / sum(weights.values())] * passages
    return [None] * passages


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    for place, character in enumerate(text):
        if character == "{":
            try:
                found, _ = decoder.raw_decode(text, place)
            except (ValueError, RecursionError):
                continue
            yield found
