"""What every compressor must do: say which sentences of the passages carry the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragib.types import Compressed, Question


class Compressor(Protocol):
    """Keeps verbatim spans of passages, and says why it dropped the others."""

    name: str

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Compress the passages of each question; one result a question, in their order."""
        ...
