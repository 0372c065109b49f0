"""What every generator must do: answer from evidence, and say which of it the answer uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ragib.types import Evidence


@dataclass(frozen=True, slots=True)
class Request:
    """A question with the evidence to answer it from, best passage first.

    `titles` maps a passage id to the title of its document, for those that have one.
    """

    question: str
    evidence: tuple[Evidence, ...]
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quote:
    """A claim of the generator that `text` stands in evidence number `evidence` (0-based)."""

    evidence: int
    text: str


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer as generated: its quotes are not checked yet.

    `usage` counts tokens (`prompt_tokens`, `completion_tokens`) where the engine tells them.
    """

    text: str
    quotes: tuple[Quote, ...] = ()
    abstained: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)


class Generator(Protocol):
    """Answers questions from evidence."""

    name: str

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch; one generation a request, in their order."""
        ...

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request without blocking the event loop."""
        ...

    def stream(self, request: Request) -> AsyncIterator[str]:
        """Yield the answer in pieces as it is generated."""
        ...
