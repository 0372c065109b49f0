"""BM25 straight from the formula, one passage and one term at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def bm25(
    query: Sequence[str],
    corpus: Sequence[Sequence[str]],
    k1: float,
    b: float,
    variant: str = "lucene",
) -> list[float]:
    """Score every passage of a tokenised corpus; `variant` is `lucene` or `robertson`."""
    count = len(corpus)
    mean = sum(len(passage) for passage in corpus) / count
    scores = []
    for passage in corpus:
        score = 0.0
        for term in query:
            tf = list(passage).count(term)
            df = sum(term in other for other in corpus)
            if not tf:
                continue
            odds = (count - df + 0.5) / (df + 0.5)
            idf = math.log(1 + odds) if variant == "lucene" else max(0.0, math.log(odds))
            score += idf * tf / (tf + k1 * (1 - b + b * len(passage) / mean))
        scores.append(score)
    return scores
