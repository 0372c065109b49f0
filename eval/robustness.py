"""What retrieval does to answers, and what noise does.

Flips: of the questions that a generator answers right with no passages, the share that it gets
wrong with them (`TFR`, true-flip rate), and of those it gets wrong, the share that it then gets
right (`FFR`, false-flip rate). CRAG score: 1 for a right answer, 0 for none, -1 for a wrong one,
as in Yang et al. 2024, https://arxiv.org/abs/2406.04744.
"""

from __future__ import annotations

from collections.abc import Mapping

from ragib.corpus.records import clean
from ragib.eval.containment import has_answer_dpr
from ragib.eval.evalset import EvalQuery
from ragib.eval.outcome import Outcome
from ragib.types import Passage


def is_right(query: EvalQuery, given: str) -> bool:
    """Say whether an answer is right: it holds one, or there is none and it is empty."""
    if not query.answers:
        return not given.strip()
    return has_answer_dpr(given, query.answers)


def right(outcome: Outcome) -> float:
    """Return 1 if the answer is right, else 0; one that failed is not."""
    return float(outcome.answer is not None and is_right(outcome.query, outcome.given))


def crag(outcome: Outcome) -> float:
    """Return 1 for a right answer, 0 for an abstention or a failure, -1 for a wrong answer.

    Where no answer is right, abstaining is.
    """
    if outcome.answer is None:
        return 0.0
    if is_right(outcome.query, outcome.given):
        return 1.0
    return -1.0 if outcome.given.strip() else 0.0


def true_flip(outcome: Outcome) -> float | None:
    """Return 1 if the answer is wrong with passages, of those that are right without."""
    if outcome.bare is None or not is_right(outcome.query, outcome.bare):
        return None
    return 1.0 - right(outcome)


def false_flip(outcome: Outcome) -> float | None:
    """Return 1 if the answer is right with passages, of those that are wrong without."""
    if outcome.bare is None or is_right(outcome.query, outcome.bare):
        return None
    return right(outcome)


def noise_passages(query: EvalQuery, distractors: int) -> tuple[Passage, ...] | None:
    """Return a question's gold passages and so many of its others, in the order of its record.

    `None` if it has no gold passage, or fewer others: a curve over the number of distractors is
    only fair over questions that have a point at each.
    """
    if query.record is None:
        return None
    gold = [p for p in query.record.passages if p.gold]
    others = [p for p in query.record.passages if not p.gold and p.text.strip()]
    if not gold or len(others) < distractors:
        return None
    chosen = {p.id for p in [*gold, *others[:distractors]]}
    return tuple(
        Passage(p.id, p.id, clean(p.text), clean(p.title), 0, len(p.text))
        for p in query.record.passages
        if p.id in chosen
    )


def noise_curve(accuracy: Mapping[int, Mapping[str, float]]) -> list[tuple[float, float]]:
    """Return points (distractors, mean accuracy) over the queries that have a value at each.

    Parameters
    ----------
    accuracy
        Number of distractors -> query id -> accuracy.
    """
    shared = set.intersection(*(set(values) for values in accuracy.values())) if accuracy else set()
    return [
        (float(count), sum(values[query] for query in sorted(shared)) / len(shared))
        for count, values in sorted(accuracy.items())
        if shared
    ]
