"""What every reranker must do: put hits into a better order, at a known cost, and lose none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ragib.types import Hit, Passage


@dataclass(frozen=True, slots=True)
class Ranked:
    """Hits in a new order, and what that cost.

    `hits` are those that came in, each once. Their scores fall strictly from one to the next, so
    that whoever sorts by score gets this order; what the reranker gave a passage stands in its
    `scores`, under the reranker's name. `judged` hits have such a score; of `unread` ones the
    model's answer could not be read, or there was none. `spent` names the budget that ran out
    before all were judged. `calls` counts requests to a language model, or batches of a model
    that runs here; `tokens` what was read and written.
    """

    hits: tuple[Hit, ...]
    judged: int
    unread: int = 0
    spent: str | None = None
    calls: int = 0
    tokens: int = 0
    milliseconds: float = 0.0

    @property
    def usage(self) -> dict[str, int]:
        """What an answer's usage says of it."""
        return {"rerank_calls": self.calls, "rerank_tokens": self.tokens}

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader of the answer should know of it."""
        unread = f"rerank-unread: {self.unread} of {self.unread + self.judged} passages"
        cut = f"rerank-cut: {self.spent} was spent after {self.judged} passages"
        return (*([unread] if self.unread else []), *([cut] if self.spent else []))


class Reranker(Protocol):
    """Orders the hits of one question."""

    @property
    def name(self) -> str:
        """The name it is configured by."""
        ...

    @property
    def depth(self) -> int:
        """How many hits it looks at; the others follow as they came."""
        ...

    def rerank(self, question: str, hits: Sequence[Hit], *, salt: str | None = None) -> Ranked:
        """Order hits, best first; they come best first as retrieval has it.

        Questions of unlike `salt` share nothing in an engine's prefix cache.

        Raises
        ------
        GenerationError
            A language model does not load.
        InputError
            The weights of a model cannot be read.
        """
        ...

    def close(self) -> None:
        """Give back what a model of its own holds; the next call loads it again."""
        ...


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a judge says of some passages: a score each (higher is better), or none.

    `late` says that the time was over before all were judged: those without a score were not
    looked at, or not to the end.
    """

    scores: Sequence[float | None]
    calls: int
    tokens: int
    late: bool = False


class Judge(Protocol):
    """Scores passages for a question; `ragib.rerankers.budgeted` makes a reranker of it.

    One call of the model judges `unit` passages together.
    """

    @property
    def name(self) -> str:
        """The name it is configured by."""
        ...

    @property
    def unit(self) -> int:
        """Passages a call."""
        ...

    def estimate(self, question: str, passages: Sequence[Passage]) -> int:
        """Return how many tokens a call about at most `unit` passages takes, rather too many."""
        ...

    def judge(
        self,
        question: str,
        passages: Sequence[Passage],
        seconds: float | None,
        salt: str | None = None,
    ) -> Verdicts:
        """Score passages, `unit` by `unit` from the first; stop when `seconds` have passed."""
        ...

    def close(self) -> None:
        """Give back what a model of its own holds."""
        ...
