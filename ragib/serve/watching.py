"""What the compressor saw and decided, while a question is on its way.

An `Answer` tells what was kept and dropped, once it is there. A page wants the passages before they
are read, and what was made of them before anything is generated. So the pipeline gets a compressor
that tells whoever listens in the context of the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from ragib.compressor.base import Compressor
from ragib.pipeline import RAG
from ragib.types import Compressed, Dropped, Evidence, Passage, Question


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages that were found, best first."""

    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of the passages, and what was not and why."""

    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]


Seen = Retrieved | Kept
Listener = Callable[[Seen], object]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have a listener told of what is compressed in this context and in those copied from it.

    It is called on whichever thread the compressor runs.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@dataclass(frozen=True, slots=True)
class Observed:
    """A compressor that tells the listener of its context what it sees and decides."""

    inner: Compressor

    @property
    def name(self) -> str:
        """The name of the compressor inside."""
        return self.inner.name

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Compress as the compressor inside does."""
        tell = _listener.get()
        for question in questions if tell else ():
            assert tell is not None
            tell(Retrieved(question.passages))
        results = self.inner.compress(questions)
        for result in results if tell else ():
            assert tell is not None
            tell(Kept(result.evidence, result.dropped))
        return results


def observed(rag: RAG) -> RAG:
    """Return a pipeline like this one that can be listened to."""
    return replace(rag, compressor=Observed(rag.compressor))
