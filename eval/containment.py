"""Does a text hold an answer? `has-answer/dpr`, as Dense Passage Retrieval asks it.

Karpukhin et al. 2020, https://arxiv.org/abs/2004.04906: both are brought to Unicode form NFD and
cut into tokens, which are runs of letters, digits and marks, or single other characters that are
neither separators nor controls; the lower-cased tokens of the answer must follow one another in
those of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby


def tokens(text: str) -> list[str]:
    """Cut a text into the tokens of DPR, lower-cased."""
    found: list[str] = []
    for word, run in groupby(unicodedata.normalize("NFD", text), _in_word):
        if word:
            found.append("".join(run).lower())
        else:
            found += [mark.lower() for mark in run if unicodedata.category(mark)[0] not in "ZC"]
    return found


def has_answer_dpr(text: str, answers: Iterable[str]) -> bool:
    """Say whether a text holds any of the answers (`has-answer/dpr`)."""
    inside = tokens(text)
    return any(_holds(inside, tokens(answer)) for answer in answers)


def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


def _holds(text: Sequence[str], wanted: Sequence[str]) -> bool:
    size = len(wanted)
    return any(text[i : i + size] == wanted for i in range(len(text) - size + 1))
