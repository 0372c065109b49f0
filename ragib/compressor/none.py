"""No compression: every passage is evidence, whole. The upper bound of what can be retained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ragib.text import count_words, strip_span
from ragib.types import Compressed, Evidence, Passage, Question


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keeps everything, repeats too; every score is 1."""

    name: ClassVar[str] = "none"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Return every passage that is not empty as one evidence."""
        return [_keep_all(question) for question in questions]


def _keep_all(question: Question) -> Compressed:
    evidence = tuple(_whole(passage) for passage in question.passages if passage.text.strip())
    size = sum(count_words(item.text) for item in evidence)
    return Compressed(question.id, evidence, (), size, size, abstained=not evidence)


def _whole(passage: Passage) -> Evidence:
    start, end = strip_span(passage.text, 0, len(passage.text))
    return Evidence(passage.id, start, end, passage.text[start:end], 1.0)
