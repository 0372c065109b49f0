"""Judges and language models that say what a test tells them to."""

from __future__ import annotations

from dataclasses import dataclass, field

from ragib.generators.completing import Completion
from ragib.rerankers.base import Verdicts
from ragib.types import Hit, Passage


def hits_of(texts, title=""):
    return [
        Hit(Passage(f"p{n}", f"d{n}", text, title, 0, len(text)), 1.0 - n / 100, {"sparse": n + 1})
        for n, text in enumerate(texts)
    ]


def ids(ranked):
    return [hit.passage.id for hit in ranked]


@dataclass
class ScriptedJudge:
    """Gives a passage the score its text maps to, for `cost` tokens, `late` from some call on."""

    scores: dict
    cost: int = 10
    unit: int = 1
    late_after: int | None = None
    seen: list = field(default_factory=list)
    salts: list = field(default_factory=list)
    name: str = "scripted"

    def estimate(self, question, passages):
        return 15 * len(passages)

    def judge(self, question, passages, seconds, salt=None):
        place = self.late_after if seconds is not None else None
        looked_at = passages[:place]
        self.seen += looked_at
        self.salts.append(salt)
        scores = [self.scores.get(passage.text) for passage in looked_at]
        missing = len(passages) - len(looked_at)
        calls = -(-len(looked_at) // self.unit)
        return Verdicts(
            [*scores, *[None] * missing], calls, self.cost * len(looked_at), missing > 0
        )

    def close(self):
        pass


@dataclass
class FakeCompleter:
    """Answers a chat with what `answer` makes of its user's message; an exception is an error."""

    answer: object
    usage: dict = field(default_factory=lambda: {"prompt_tokens": 40, "completion_tokens": 2})
    chats: list = field(default_factory=list)
    limits: list = field(default_factory=list)
    closed: int = 0

    def complete(self, chats, *, max_tokens, seconds=None, salt=None):
        self.chats += chats
        self.limits.append((seconds, salt))
        return [self._one(chat[-1]["content"]) for chat in chats]

    def _one(self, text):
        try:
            return Completion(self.answer(text), self.usage)
        except ValueError as error:
            return Completion("", error=str(error))

    def close(self):
        self.closed += 1
