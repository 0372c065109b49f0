"""Pointwise: the model is asked about one passage at a time, for a score from 0 to 10.

A scale tells more than yes or no: Zhuang et al. 2024, "Beyond yes and no: improving zero-shot LLM
rankers via scoring fine-grained relevance labels", NAACL, arXiv:2310.14122. There the expected
score is taken from the probabilities of the labels; here the one that is written, since servers
seldom tell probabilities. N calls for N passages, which share no text but the question.
"""

from __future__ import annotations

import re

from ragib.generators.completing import Completer
from ragib.rerankers.asking import FENCED, LanguageModelJudge

_TASK = f"""\
You judge how much a passage helps to answer a question. The passage comes in a block. {FENCED}
Reply with one whole number and nothing else: 0 if the passage has nothing to do with the \
question, 5 if it is about the subject but does not hold the answer, 10 if it holds the whole \
answer."""

_NUMBER = re.compile(r"(?<![\w.,-])(\d++(?:\.\d++)?+)(?:\s*(?:/|out of)\s*10\b)?(?!\w)")


def pointwise(completer: Completer) -> LanguageModelJudge:
    """Return the judge that asks about every passage by itself."""
    return LanguageModelJudge(
        "pointwise", completer, 1, _TASK, "Score of the passage, 0 to 10:", 12, read_score
    )


def read_score(text: str, passages: int = 1) -> list[float | None]:
    """Read `7`, `7/10`, `Score: 7.` and the like; a text with two scores has none."""
    found = {float(number) for number in _NUMBER.findall(text)}
    return [found.pop() if len(found) == 1 else None] * passages
