"""Measures of answers, by versioned names: `em/squad2` and `f1/squad2`.

As the evaluation script of SQuAD 2.0 has them (Rajpurkar et al. 2018, arXiv:1806.03822): texts are
lower-cased, then lose ASCII punctuation (so `U.S.` is `us`, but curly quotation marks stay), then
articles as whole words, then needless white space. The order matters: `the-end` becomes one word,
`theend`, which keeps its article. Right answers that are nothing once normalised (`The`) do not
count; a question that is left with none is answered right if and only if what is given normalises
to nothing. Of several right answers the best match counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower-case a text, and drop punctuation, articles and needless white space."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def em_squad2(given: str, right: Sequence[str]) -> float:
    """Return 1 if the answer equals a right one once normalised, else 0 (`em/squad2`)."""
    return float(normalise(given) in _countable(right))


def f1_squad2(given: str, right: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of words (`f1/squad2`)."""
    words = normalise(given).split()
    return max(_f1(words, answer.split()) for answer in _countable(right))


def _countable(right: Sequence[str]) -> list[str]:
    return [text for answer in right if (text := normalise(answer))] or [""]


def _f1(given: Sequence[str], right: Sequence[str]) -> float:
    if not given or not right:
        return float(given == right)
    common = sum((Counter(given) & Counter(right)).values())
    return 2 * common / (len(given) + len(right))
