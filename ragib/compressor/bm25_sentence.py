r"""BM25 over sentences: the sentences of one question are the whole collection.

score(q, s) = Σ_t idf(t) · tf / (tf + k1 · (1 - b + b · |s| / avg|s|)), summed over the distinct
terms of the question, with idf(t) = ln(1 + (N - df + ½) / (df + ½)) counted among the sentences
of the same question (Robertson and Zaragoza, 2009; this idf is never negative).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import Stemmer

from ragib.compressor.base import TokenCounter
from ragib.compressor.selection import ScoredSentence, select, sentences_of
from ragib.types import Compressed, Question

K1 = 0.9
B = 0.4

_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # kana and han: each sign is a term
_TERM = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+")


@dataclass(frozen=True, slots=True)
class BM25Sentence:
    """Keeps the sentences that share the rarest terms with the question.

    `keep`, `budget` and `threshold` are those of `ragib.compressor.selection.select`; a budget
    needs `count_tokens`. The score has no upper bound and does not compare across questions.
    """

    keep: float | None = None
    budget: int | None = None
    threshold: float | None = None
    count_tokens: TokenCounter | None = None

    name: ClassVar[str] = "bm25-sentence"

    def __post_init__(self) -> None:
        if self.budget is not None and self.count_tokens is None:
            raise ValueError("a budget needs a token counter")

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Score the sentences of each question by BM25 and select among them."""
        return [self._compress(question) for question in questions]

    def _compress(self, question: Question) -> Compressed:
        found = sentences_of(question)
        texts = [sentence.text(question) for sentence in found]
        scores = bm25(question.text, texts)
        tokens = self.count_tokens(texts) if self.count_tokens else [None] * len(texts)
        return select(
            question,
            [ScoredSentence(*row) for row in zip(found, scores, tokens, strict=True)],
            keep=self.keep,
            budget=self.budget,
            threshold=self.threshold,
        )


def bm25(question: str, texts: Sequence[str]) -> list[float]:
    """Score every text against the question, with the texts as the collection."""
    wanted = set(_terms(question))
    bags = [Counter(_terms(text)) for text in texts]
    lengths = [bag.total() for bag in bags]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    frequency = Counter(term for bag in bags for term in bag.keys() & wanted)
    idf = {t: math.log1p((len(bags) - df + 0.5) / (df + 0.5)) for t, df in frequency.items()}
    return [
        math.fsum(
            idf[term] * bag[term] / (bag[term] + K1 * (1 - B + B * length / mean))
            for term in sorted(bag.keys() & wanted)
        )
        for bag, length in zip(bags, lengths, strict=True)
    ]


def _terms(text: str) -> list[str]:
    stems: list[str] = _stemmer().stemWords(_TERM.findall(text.casefold()))
    return stems


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")
