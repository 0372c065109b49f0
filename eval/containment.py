"""Whether a text holds an answer: `has-answer/dpr`, as Dense Passage Retrieval asks it.

Karpukhin et al. 2020, https://arxiv.org/abs/2004.04906: both are brought to Unicode form NFD and
cut into tokens, which are runs of letters, digits and marks, or single other characters that are
neither separators nor controls; the lower-cased tokens of the answer must follow one another in
those of the text. An answer without a token is in every text.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import groupby


@lru_cache(maxsize=4096)  # the same passages are found again and again
def tokens(text: str) -> tuple[str, ...]:
    """Cut a text into the tokens of DPR, lower-cased."""
    found = _pattern().findall(unicodedata.normalize("NFD", text))
    return tuple(token.lower() for token in found if unicodedata.category(token[0])[0] not in "ZC")


def has_answer_dpr(text: str, answers: Iterable[str]) -> bool:
    """Say whether a text holds any of the answers (`has-answer/dpr`)."""
    inside = tokens(text)
    return any(_holds(inside, tokens(answer)) for answer in answers)


@cache
def _pattern() -> re.Pattern[str]:
    """Match a run of letters, digits (which `re` knows) and marks (which it does not), or one."""
    marks = (c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c))[0] == "M")
    ranges = ""
    for _, run in groupby(enumerate(marks), lambda place: place[1] - place[0]):
        codes = [code for _, code in run]
        ranges += f"{chr(codes[0])}-{chr(codes[-1])}"
    return re.compile(rf"(?:[^\W_]|(?![\x00-\x7f])[{ranges}])+|\S")


def _holds(text: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    size = len(wanted)
    starts = (i for i, token in enumerate(text) if token == wanted[0])
    return not wanted or any(text[i : i + size] == wanted for i in starts)
