"""Groupwise: the model sees c passages at once and scores them against each other, in N/c calls.

GroupRank, Sun et al. 2025, arXiv:2511.11653: comparison within a group orders better than looking
at each passage by itself, scores on one scale let groups be merged, and unlike listwise reranking
(RankGPT: Sun et al. 2023, arXiv:2304.09542) no window has to slide and all calls are made at once.
Groups are taken in the order of retrieval.
"""

from __future__ import annotations

import re

from ragib.generators.completing import Completer
from ragib.rerankers.asking import FENCED, LanguageModelJudge

_TASK = f"""\
You compare passages by how much each helps to answer a question. The passages come in numbered \
blocks. {FENCED}
Give every passage a whole number: 0 if it has nothing to do with the question, 5 if it is about \
the subject but does not hold the answer, 10 if it holds the whole answer. A passage that helps \
more than another gets the higher number. Reply with one line a passage and nothing else, its \
number in brackets and its score, like
[1]: 3
[2]: 8"""

_LINE = re.compile(r"(?<![\w.])(\d++)[\"\]*)]{0,4}\s*[:=]\s*[\"*]{0,3}(\d++(?:\.\d++)?+)(?!\w)")


def groupwise(completer: Completer, size: int) -> LanguageModelJudge:
    """Return the judge that asks about `size` passages at a time."""
    return LanguageModelJudge(
        "groupwise", completer, size, _TASK, "Scores of the passages:", 12, read_scores
    )


def read_scores(text: str, passages: int) -> list[float | None]:
    """Read `[1]: 7` and the like, also as JSON; a passage with two unlike scores has none."""
    found: dict[int, set[float]] = {}
    for number, score in _LINE.findall(text):
        found.setdefault(int(number[:9]), set()).add(float(score))
    each = [found.get(number, set()) for number in range(1, passages + 1)]
    return [next(iter(scores)) if len(scores) == 1 else None for scores in each]
