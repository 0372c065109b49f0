"""From a judge to a reranker: budgets, and a place for every passage whatever happens.

Passages are judged in the order of retrieval, the first `depth` of them, as far as the budgets of
the question reach: calls are made while the tokens they are estimated to take fit what is left of
`tokens` (what they really took is then subtracted), and until `milliseconds` have passed, when
calls under way are given up. The order that comes of it:

1. Judged passages, by score; retrieval decides between equal ones.
2. A passage whose answer could not be read keeps its place among them, so that a model's stumble
   costs it nothing.
3. Passages that were not reached come below, as retrieval had them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from ragib.rerankers.base import Judge, Ranked
from ragib.types import Hit

_STEP = 1e-6
"""How far scores fall from hit to hit at least, against the larger of 1 and the score."""


@dataclass(frozen=True, slots=True)
class Budgeted:
    """A reranker that asks a judge, within the budgets of a question; `None` is no limit."""

    judge: Judge
    depth: int
    tokens: int | None = None
    milliseconds: float | None = None

    @property
    def name(self) -> str:
        """The name the judge is configured by."""
        return self.judge.name

    def rerank(self, question: str, hits: Sequence[Hit], *, salt: str | None = None) -> Ranked:
        """Order hits by the rules above; raises as the judge does."""
        begin = perf_counter()
        looked_at = hits[: self.depth]
        scores: dict[int, float] = {}
        unread: list[int] = []
        done = calls = tokens = 0
        spent = None
        while done < len(looked_at) and spent is None:
            left = self._seconds_left(begin)
            end = self._affordable(question, looked_at, done, tokens)
            if end == done or (left is not None and left <= 0):
                spent = "budget_tokens" if end == done else "budget_ms"
                break
            passages = [hit.passage for hit in looked_at[done:end]]
            said = self.judge.judge(question, passages, left, salt)
            calls, tokens = calls + said.calls, tokens + said.tokens
            for place, score in enumerate(said.scores, start=done):
                if score is not None and math.isfinite(score):
                    scores[place] = score
                elif not said.late:
                    unread.append(place)
            spent = "budget_ms" if said.late else None
            done = end
        return Ranked(
            hits=_ordered(self.name, hits, scores, unread),
            judged=len(scores),
            unread=len(unread),
            spent=spent,
            calls=calls,
            tokens=tokens,
            milliseconds=1000 * (perf_counter() - begin),
        )

    def close(self) -> None:
        """Give back what the judge holds."""
        self.judge.close()

    def _seconds_left(self, begin: float) -> float | None:
        if self.milliseconds is None:
            return None
        return self.milliseconds / 1000 - (perf_counter() - begin)

    def _affordable(self, question: str, hits: Sequence[Hit], done: int, used: int) -> int:
        """Return where the passages end that the tokens left are likely to suffice for."""
        if self.tokens is None:
            return len(hits)
        end = done
        while end < len(hits):
            unit = [hit.passage for hit in hits[end : end + self.judge.unit]]
            used += self.judge.estimate(question, unit)
            if used > self.tokens:
                break
            end += len(unit)
        return end


def below(hits: Sequence[Hit], others: Sequence[Hit]) -> tuple[Hit, ...]:
    """Put others below some hits, as they come, with scores that go on falling.

    Without hits to put them below, they keep their scores.
    """
    found = list(hits)
    for other in others if hits else ():
        found.append(replace(other, score=_next(found[-1].score)))
    return tuple(found) if hits else tuple(others)


def _ordered(
    name: str, hits: Sequence[Hit], scores: Mapping[int, float], unread: Sequence[int]
) -> tuple[Hit, ...]:
    if not scores:
        return tuple(hits)
    by_score = iter(sorted(scores, key=lambda place: (-scores[place], place)))
    stays = set(unread)
    order = [place if place in stays else next(by_score) for place in sorted({*scores, *stays})]
    top = max(scores.values())
    ranked: list[Hit] = []
    for place in order:
        most = _next(ranked[-1].score) if ranked else top
        score = scores.get(place)
        given = {} if score is None else {name: score}
        ranked.append(
            replace(
                hits[place],
                score=most if score is None else min(score, most),
                scores={**hits[place].scores, **given},
            )
        )
    return below(ranked, [hit for place, hit in enumerate(hits) if place not in {*scores, *stays}])


def _next(score: float) -> float:
    return score - _STEP * max(1.0, abs(score))
