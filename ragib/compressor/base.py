"""What every compressor must do: say which sentences of the passages carry the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ragib.types import Compressed, Question

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Counts the tokens of each text, as `Encoder.count_tokens` does; budgets are counted with it."""


class Compressor(Protocol):
    """Keeps verbatim spans of passages, and says why it dropped the others."""

    @property
    def name(self) -> str:
        """The name it is configured by."""
        ...

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Compress the passages of each question; one result a question, in their order."""
        ...
