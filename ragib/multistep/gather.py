"""Gathering evidence in several steps: search, keep, weigh, and search for what that names.

After every step the evidence is chosen anew, for the question itself, from all passages found so
far: so the evidence of different steps competes on one scale, and what was found early is seen in
the light of what was found late. What the steps follow: Qi et al. 2019, arXiv:1910.07000; Xiong et
al. 2021, arXiv:2009.12756; with a language model Trivedi et al. 2023, arXiv:2212.10509.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import monotonic

from ragib.compressor.base import Compressor
from ragib.config import StepsConfig
from ragib.generators.base import titles_of
from ragib.generators.completing import Completer, Message
from ragib.multistep.asking import MAX_TOKENS, Plan, ask, next_chat, split_chat
from ragib.multistep.judge import Judge, Verdict
from ragib.multistep.pool import fresh, within
from ragib.multistep.queries import bridges, parts
from ragib.types import Compressed, Hit, Question, Step

STAGES = ("retrieve", "compress", "plan")
"""What the seconds of a step go to; `plan` is for weighing and for the next query."""

Search = Callable[[Sequence[str], int], list[list[Hit]]]
"""Searches for several queries at once: so many hits of each, best first."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the steps led to: passages in the order they were found, and what is kept of them.

    `seconds` are by stage. `tokens` are those that a language model read and wrote on the way;
    `flags` say where that was of no use.
    """

    hits: tuple[Hit, ...]
    kept: Compressed
    steps: tuple[Step, ...]
    seconds: Mapping[str, float]
    tokens: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MultiStep:
    """Gathers the evidence for one question at a time, as `config` says.

    `decompose` searches for the question and its parts together, in one step. `iterate` searches
    for the question, then for what the evidence names, until one of these holds, which the last
    step tells:

    - there were `max_steps`;
    - the gain of the new evidence is not over `min_gain` (`ragib.multistep.judge`);
    - nothing new was found, or nothing is left to ask;
    - the next step would end after the `deadline`, if it took as long as the longest so far; a
      language model that is still planning at the deadline is not waited for;
    - the next plan of the language model would cross the `budget`, which is one for the whole
      question: tokens of the evidence, and of all that the model read and wrote on the way, as the
      evidence model counts them.

    Without a `completer`, or where what it wrote cannot be read, queries are made of the names in
    question and evidence (`ragib.multistep.queries`). `language` is that of the index's terms;
    `clock` gives seconds.
    """

    config: StepsConfig
    judge: Judge
    completer: Completer | None = None
    language: str = "english"
    clock: Callable[[], float] = monotonic

    def gather(
        self,
        question: str,
        search: Search,
        compressor: Compressor,
        k: int,
        salt: str | None = None,
    ) -> Gathered:
        """Go as many steps as are worth it.

        Parameters
        ----------
        question
            The question itself.
        search, compressor
            What finds passages, under the filters of the asker, and what keeps evidence.
        k
            How many passages a step adds at most.
        salt
            Keeps access groups apart in the cache of a language model.

        Raises
        ------
        InputError
            As the search raises.
        GenerationError
            The language model does not load.
        """
        walk = _Walk(self, question, search, compressor, k, salt)
        queries = walk.first()
        while queries:
            queries = walk.step(queries)
        assert walk.kept is not None
        return Gathered(
            tuple(walk.pool.values()),
            walk.kept,
            tuple(walk.steps),
            walk.seconds,
            walk.tokens,
            tuple(walk.flags),
        )


@dataclass(slots=True)
class _Walk:
    """One question on its way: `kept` is what is kept now, `asked` are all queries so far."""

    rules: MultiStep
    question: str
    search: Search
    compressor: Compressor
    k: int
    salt: str | None
    begun: float = field(init=False)
    pool: dict[str, Hit] = field(default_factory=dict)
    kept: Compressed | None = None
    asked: dict[str, None] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    flags: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = self.rules.clock()

    def first(self) -> tuple[str, ...]:
        """Return what to search for first."""
        if self.rules.config.mode == "iterate":
            return (self.question,)
        messages = split_chat(self.question)
        plan = self.told(messages) if self.affords(messages) else None
        found = parts(self.question, self.rules.language) if plan is None else plan.queries
        return tuple(dict.fromkeys((self.question, *found)))

    def step(self, queries: tuple[str, ...]) -> tuple[str, ...]:
        """Take a step; returns the queries of the next, or none if this was the last."""
        clock, judge = self.rules.clock, self.rules.judge
        times = [clock()]
        self.asked |= dict.fromkeys(queries)
        lists = self.search(queries, self.k + len(self.pool))
        new = fresh(lists, self.pool, self.k)
        self.pool |= {hit.passage.id: hit for hit in new}
        times.append(clock())
        kept = self.kept if self.kept and not new else self.keep()
        times.append(clock())
        before = self.kept.evidence if self.kept else ()
        verdict = judge.weigh(self.question, kept, before, self.titles())
        plan, stopped = self.onward(kept, verdict, found=bool(new), since=times[0])
        times.append(clock())
        for stage, (start, end) in zip(STAGES, pairwise(times), strict=True):
            self.seconds[stage] = self.seconds.get(stage, 0.0) + end - start
        self.steps.append(
            Step(
                queries=queries,
                hits=tuple(new),
                evidence=kept.evidence,
                answer=plan.answer or verdict.answer,
                score=verdict.score,
                gain=verdict.gain,
                tokens=self.tokens + self.size(kept),
                seconds=times[-1] - times[0],
                stopped=stopped,
            )
        )
        return plan.queries

    def onward(
        self, kept: Compressed, verdict: Verdict, *, found: bool, since: float
    ) -> tuple[Plan, str]:
        """Settle what to search for next, or why nothing."""
        limits = self.rules.config
        self.kept = kept
        if not found:
            return Plan(), "nothing new was found"
        if verdict.gain is not None and verdict.gain <= limits.min_gain:
            return Plan(), f"min_gain: the new evidence gains {verdict.gain:.3f} nats"
        if limits.mode == "decompose":
            return Plan(), "all parts were searched for"
        if len(self.steps) + 1 == limits.max_steps:
            return Plan(), f"max_steps: {limits.max_steps}"
        if late := self.late(since):
            return Plan(), late
        plan, stopped = self.planned(kept)
        if plan.queries and (late := self.late(since)):
            return replace(plan, queries=()), late
        return plan, stopped

    def late(self, since: float) -> str:
        """Say why there is no time for a step as long as the longest; nothing if there is."""
        now, deadline = self.rules.clock(), self.rules.config.deadline
        longest = max([now - since, *(step.seconds for step in self.steps)])
        if now + longest <= self.begun + deadline:
            return ""
        return f"deadline: {now - self.begun:.3f} of {deadline:g} s are over"

    def planned(self, kept: Compressed) -> tuple[Plan, str]:
        """Plan the next step: by the language model, if there is one and the budget has room."""
        plan = None
        if self.rules.completer is not None:
            messages = next_chat(self.question, kept.evidence, self.titles())
            if not self.affords(messages, self.size(kept)):
                return Plan(), f"budget: the next plan takes it from {self.rules.config.budget}"
            plan = self.told(messages)
            if plan is not None and not plan.queries:
                return plan, "the language model has what it needs"
        if plan is None:
            plan = Plan(bridges(self.question, kept.evidence, self.titles(), self.rules.language))
        queries = tuple(query for query in plan.queries if query not in self.asked)
        return replace(plan, queries=queries), "" if queries else "nothing is left to ask"

    def affords(self, messages: Sequence[Message], beside: int = 0) -> bool:
        """Say whether the budget has room for a plan, beside so many tokens of evidence."""
        read = sum(self.rules.judge.tokens([message["content"] for message in messages]))
        return self.tokens + read + MAX_TOKENS + beside <= self.rules.config.budget

    def told(self, messages: Sequence[Message]) -> Plan | None:
        """Ask the language model, if there is one; what is of no use is flagged and left."""
        if self.rules.completer is None:
            return None
        left = self.begun + self.rules.config.deadline - self.rules.clock()
        plan = ask(self.rules.completer, messages, seconds=max(left, 0.0), salt=self.salt)
        self.tokens += plan.tokens
        if plan.flag:
            self.flags[plan.flag] = None
            return None
        return plan

    def keep(self) -> Compressed:
        """Keep anew of all that was found, within what is left of the budget."""
        passages = tuple(hit.passage for hit in self.pool.values())
        question = Question("1", self.question, passages)
        [kept] = self.compressor.compress([question])
        left = self.rules.config.budget - self.tokens
        return within(question, kept, left, self.rules.judge.tokens)

    def size(self, kept: Compressed) -> int:
        """Count the tokens of the evidence."""
        return sum(self.rules.judge.tokens([piece.text for piece in kept.evidence]))

    def titles(self) -> dict[str, str]:
        """Return the titles of the passages, by passage id."""
        return titles_of(self.pool.values())
