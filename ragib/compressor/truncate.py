"""Truncation: the first words of the passages, best passage first; it never reads the question."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ragib.compressor.base import TokenCounter
from ragib.compressor.selection import share_of
from ragib.text import Span, words
from ragib.types import Compressed, Dropped, Evidence, Passage, Question


@dataclass(frozen=True, slots=True)
class Truncate:
    """Keeps the first words of all passages; kept spans score 1, dropped ones 0.

    `keep` is a share of the words of all passages (at least one word is kept); `budget` is in
    tokens, counted by `count_tokens`, and is never exceeded. Give one of the two.
    """

    keep: float | None = None
    budget: int | None = None
    count_tokens: TokenCounter | None = None

    name: ClassVar[str] = "truncate"

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.budget is None):
            raise ValueError("truncate needs either keep or budget")
        if self.budget is not None and self.count_tokens is None:
            raise ValueError("a budget needs a token counter")

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Return at most one evidence a passage: its first words, as far as they fit."""
        return [self._compress(question) for question in questions]

    def _compress(self, question: Question) -> Compressed:
        spans = [words(passage.text) for passage in question.passages]
        total = sum(map(len, spans))
        if self.keep is not None:
            most = max(1, int(share_of(self.keep, total)))
            taken = list(_fill(most, [len(row) for row in spans]))
            reason = f"after the first {most} of {total} words"
        else:
            taken = self._within_budget(question.passages, spans)
            reason = f"over the budget of {self.budget} tokens"
        evidence: list[Evidence] = []
        dropped: list[Dropped] = []
        for passage, row, count in zip(question.passages, spans, taken, strict=True):
            if count:
                start, end = row[0][0], row[count - 1][1]
                evidence.append(Evidence(passage.id, start, end, passage.text[start:end], 1.0))
            if count < len(row):
                dropped.append(Dropped(passage.id, row[count][0], row[-1][1], 0.0, reason))
        return Compressed(
            question.id, tuple(evidence), tuple(dropped), total, sum(taken), not evidence
        )

    def _within_budget(
        self, passages: Sequence[Passage], spans: Sequence[Sequence[Span]]
    ) -> list[int]:
        """Count the words of each passage, up to the first that does not fit whole."""
        assert self.budget is not None
        assert self.count_tokens is not None
        count_tokens = self.count_tokens
        taken = [0] * len(spans)
        left = self.budget
        for number, (passage, row) in enumerate(zip(passages, spans, strict=True)):

            def tokens(size: int, text: str = passage.text, row: Sequence[Span] = row) -> int:
                return count_tokens([text[row[0][0] : row[size - 1][1]]])[0]

            taken[number] = bisect_right(range(1, len(row) + 1), left, key=tokens)
            if taken[number] < len(row):
                break
            left -= tokens(len(row)) if row else 0
        return taken


def _fill(most: int, sizes: Sequence[int]) -> Iterator[int]:
    for size in sizes:
        yield min(size, most)
        most -= min(size, most)
