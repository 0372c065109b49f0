from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import pytest

from ragib.compressor.bm25_sentence import BM25Sentence
from ragib.config import StepsConfig
from ragib.generators.completing import Completion, Message
from ragib.indexes.terms import terms
from ragib.multistep.asking import UNREAD
from ragib.multistep.gather import Gathered, MultiStep
from ragib.multistep.judge import Verdict
from ragib.types import Compressed, Evidence, Hit, Passage

TEXTS = {
    "film": ("Iron Sun", "The maker of The Iron Sun was Anna Kell."),
    "anna": ("Anna Kell", "Anna Kell came from Torun."),
    "torun": ("Torun", "Torun has a tower."),
    "moon": ("Moon", "A moon goes round."),
}
ASKED = "Where was the maker of Iron Sun born?"


@dataclass
class Searching:
    """Finds passages by the terms they share with a query, and remembers what was asked."""

    asked: list[tuple[tuple[str, ...], int]] = field(default_factory=list)
    hidden: frozenset[str] = frozenset()

    def __call__(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append((tuple(queries), k))
        return [self.one(query, k) for query in queries]

    def one(self, query: str, k: int) -> list[Hit]:
        wanted = set(terms(query, "english"))
        scores = {
            name: len(wanted & set(terms(f"{title} {text}", "english")))
            for name, (title, text) in TEXTS.items()
            if name not in self.hidden
        }
        best = sorted((n for n in scores if scores[n]), key=lambda n: -scores[n])[:k]
        return [
            Hit(Passage(n, n, TEXTS[n][1], TEXTS[n][0], 0, len(TEXTS[n][1])), float(scores[n]))
            for n in best
        ]


@dataclass
class Weighing:
    """Says gains in turn, and counts words as tokens."""

    gains: Iterator[float | None] = field(default_factory=lambda: iter([None, 1.0, 1.0, 1.0]))
    seen: list[tuple[Evidence, ...]] = field(default_factory=list)

    def weigh(
        self,
        question: str,
        kept: Compressed,
        before: Sequence[Evidence] | None,
        titles: Mapping[str, str],
    ) -> Verdict:
        self.seen.append(tuple(before or ()))
        return Verdict(f"answer {len(self.seen)}", 0.5, next(self.gains))

    def tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


@dataclass
class Talking:
    """A language model that says one thing after another, and uses 30 tokens each time."""

    texts: list[str]
    chats: list[Sequence[Message]] = field(default_factory=list)
    asked: list[tuple[float | None, str | None]] = field(default_factory=list)

    def close(self) -> None:
        """Hold nothing."""

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        seconds: float | None = None,
        salt: str | None = None,
    ) -> list[Completion]:
        self.chats += chats
        self.asked.append((seconds, salt))
        usage = {"prompt_tokens": 20, "completion_tokens": 10}
        return [Completion(self.texts.pop(0), usage) for _ in chats]


def gather(
    search: Searching | None = None,
    judge: Weighing | None = None,
    completer: Talking | None = None,
    clock: Iterator[float] | None = None,
    k: int = 1,
    **config: object,
) -> Gathered:
    ticks = clock or iter([0.0] * 1000)
    steps = MultiStep(
        StepsConfig.model_validate({"mode": "iterate", **config}),
        judge or Weighing(),  # type: ignore[arg-type]
        completer,
        clock=lambda: next(ticks),
    )
    return steps.gather(ASKED, search or Searching(), BM25Sentence(keep=1.0), k, "salt")


def found(got: Gathered) -> list[str]:
    return [hit.passage.id for hit in got.hits]


def test_what_the_evidence_names_is_searched_for_next() -> None:
    search = Searching()
    got = gather(search, k=1, max_steps=3)
    assert found(got) == ["film", "anna", "torun"]
    first, second, third = got.steps
    assert first.queries == (ASKED,)
    assert second.queries == (f"{ASKED} Anna Kell",)
    assert "Torun" in third.queries[0]
    assert [[hit.passage.id for hit in step.hits] for step in got.steps] == [
        ["film"], ["anna"], ["torun"]
    ]  # fmt: skip
    assert [k for _, k in search.asked] == [1, 2, 3]
    assert (first.stopped, second.stopped, third.stopped) == ("", "", "max_steps: 3")
    assert [step.answer for step in got.steps] == ["answer 1", "answer 2", "answer 3"]


def test_evidence_of_all_steps_is_chosen_together() -> None:
    judge = Weighing()
    got = gather(judge=judge, max_steps=2)
    assert got.kept.evidence == got.steps[-1].evidence
    assert {piece.passage_id for piece in got.kept.evidence} == {"film", "anna"}
    assert judge.seen == [(), got.steps[0].evidence]
    assert got.kept.words_in == sum(len(TEXTS[name][1].split()) for name in ("film", "anna"))


def test_evidence_that_gains_too_little_ends_it() -> None:
    got = gather(judge=Weighing(iter([None, 0.25])), min_gain=0.25)
    assert [step.gain for step in got.steps] == [None, 0.25]
    assert got.steps[-1].stopped == "min_gain: the new evidence gains 0.250 nats"
    assert got.kept.evidence == got.steps[-1].evidence
    more = gather(judge=Weighing(iter([None, 0.26, 0.26])), min_gain=0.25)
    assert len(more.steps) == 3


def test_nothing_new_ends_it() -> None:
    got = gather(Searching(hidden=frozenset(TEXTS) - {"film"}))
    assert found(got) == ["film"]
    assert [step.stopped for step in got.steps] == ["", "nothing new was found"]
    assert got.steps[1].evidence == got.kept.evidence


def test_an_empty_index_is_not_searched_again() -> None:
    got = gather(Searching(hidden=frozenset(TEXTS)), judge=Weighing(iter([None])))
    assert found(got) == []
    assert got.kept.abstained
    assert [step.stopped for step in got.steps] == ["nothing new was found"]


def seconds() -> Iterator[float]:
    """Let a second pass whenever somebody looks."""
    return map(float, count())


def test_a_plan_that_took_too_long_is_not_followed() -> None:
    completer = Talking(['{"answer": "Anna", "next": "Where is Torun?"}'])
    got = gather(completer=completer, clock=seconds(), deadline=8)
    [step] = got.steps
    assert step.answer == "Anna"
    assert step.stopped.startswith("deadline: ")
    assert completer.asked == [(3.0, "salt")]


def test_no_step_begins_that_would_pass_the_deadline() -> None:
    whole = gather(clock=seconds(), deadline=1000, max_steps=3)
    assert len(whole.steps) == 3
    got = gather(clock=seconds(), deadline=6, max_steps=3)
    assert len(got.steps) == 1
    assert got.steps[0].stopped.startswith("deadline: ")
    assert got.kept.evidence
    assert got.steps[0].seconds > 0
    assert sum(got.seconds.values()) == pytest.approx(got.steps[0].seconds)


def test_the_evidence_stays_within_the_budget() -> None:
    got = gather(budget=10)
    assert found(got) == ["film", "anna"]
    assert [step.tokens for step in got.steps] == [9, 9]
    assert got.steps[-1].stopped == "nothing is left to ask"
    assert [piece.passage_id for piece in got.kept.evidence] == ["film"]
    assert [out.reason for out in got.kept.dropped] == ["over the budget of 10 tokens"]


def test_a_language_model_says_what_to_search_for() -> None:
    completer = Talking(
        ['{"answer": "Anna Kell", "next": "Where is Torun?"}', '{"answer": "Torun", "next": ""}']
    )
    search = Searching()
    got = gather(search, completer=completer)
    assert [queries for queries, _ in search.asked] == [(ASKED,), ("Where is Torun?",)]
    assert [step.answer for step in got.steps] == ["Anna Kell", "Torun"]
    assert got.steps[-1].stopped == "the language model has what it needs"
    assert (got.tokens, got.flags) == (60, ())
    assert completer.asked == [(30.0, "salt")] * 2
    assert got.steps[0].tokens == 30 + 9
    assert ASKED in completer.chats[0][-1]["content"]
    assert "maker of The Iron Sun was Anna Kell" in completer.chats[0][-1]["content"]


def test_what_cannot_be_read_falls_back_and_is_flagged() -> None:
    got = gather(completer=Talking(["I would ask Anna.", "Hm."]), max_steps=3)
    assert found(got) == ["film", "anna", "torun"]
    assert got.flags == (UNREAD,)
    assert got.tokens == 60


def test_a_query_is_asked_once() -> None:
    got = gather(completer=Talking([f'{{"next": "{ASKED}"}}']))
    assert got.steps[-1].stopped == "nothing is left to ask"


def test_one_budget_for_plans_and_evidence() -> None:
    completer = Talking(['{"next": "Where is Torun?"}'] * 9)
    got = gather(completer=completer, budget=200)
    assert completer.chats == []
    assert got.steps[-1].stopped.startswith("budget: ")
    assert got.kept.evidence
    roomy = gather(completer=completer, budget=100_000)
    assert len(roomy.steps) == 2
    parted = gather(completer=completer, budget=100, mode="decompose")
    assert parted.steps[0].queries == (ASKED, "Iron Sun")
    assert parted.tokens == 0


@pytest.mark.parametrize("said", [None, '["Where is Torun?", "Who is Anna Kell?"]', "no plan"])
def test_parts_are_searched_for_together(said: str | None) -> None:
    search = Searching()
    completer = Talking([said]) if said else None
    got = gather(search, completer=completer, mode="decompose", k=3)
    [(queries, k)] = search.asked
    assert k == 3
    assert queries[0] == ASKED
    if completer is None or got.flags:
        assert queries[1:] == ("Iron Sun",)
    else:
        assert queries[1:] == ("Where is Torun?", "Who is Anna Kell?")
        assert {"torun", "anna"} <= set(found(got))
    assert got.flags == ((UNREAD,) if said == "no plan" else ())
    assert [step.stopped for step in got.steps] == ["all parts were searched for"]
