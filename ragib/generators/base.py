"""What every generator must do: answer from evidence, and say which of it the answer uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ragib.types import Compressed, Evidence, Hit


@dataclass(frozen=True, slots=True)
class Request:
    """A question with the evidence to answer it from, best passage first.

    `titles` maps a passage id to the title of its document, for those that have one. Requests of
    unlike `salt` share nothing in an engine's prefix cache (see `ragib.generators.salt`).
    """

    question: str
    evidence: tuple[Evidence, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    salt: str | None = None


def request_for(
    question: str, hits: Iterable[Hit], kept: Compressed, salt: str | None = None
) -> Request | None:
    """Return what a generator is asked, or nothing if there is nothing to answer from."""
    if kept.abstained or not kept.evidence:
        return None
    return Request(question, kept.evidence, titles_of(hits), salt)


def titles_of(hits: Iterable[Hit]) -> dict[str, str]:
    """Return passage id -> title of its document, for those that have one."""
    return {hit.passage.id: hit.passage.title for hit in hits if hit.passage.title}


@dataclass(frozen=True, slots=True)
class Quote:
    """A claim of the generator that `text` stands in evidence number `evidence` (0-based).

    An empty `text` points at the whole of it. The number may be one that does not exist.
    """

    evidence: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer as generated: its quotes are not checked yet.

    `text` holds no citation markers and is empty if the generator abstained. `usage` holds what
    the engine tells: `prompt_tokens`, of them `cached_tokens` that its prefix cache had,
    `completion_tokens`, `first_token_ms` from the request to the first token, and
    `tokens_per_second` from then on. `confidence` is higher for surer answers, on a scale of the
    generator's own. `error` says why a request of a batch got no answer.
    """

    text: str
    quotes: tuple[Quote, ...] = ()
    abstained: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)
    confidence: float | None = None
    error: str | None = None


class Generator(Protocol):
    """Answers questions from evidence."""

    name: str

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch; one generation a request, in their order.

        A request that cannot be answered comes back with `error` set and loses no other.

        Raises
        ------
        GenerationError
            The generator cannot even start: its model does not load.
        """
        ...

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request as `generate` does, without blocking the event loop."""
        ...

    def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer in pieces as it is generated, then the whole `Generation`.

        The pieces joined are its `text`.

        Raises
        ------
        GenerationError
            The answer cannot be had, or breaks off.
        """
        ...
