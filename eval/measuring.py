"""From a pipeline's replies to its rows and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragib.eval.abstention import confidences, risk_coverage
from ragib.eval.answering import Reply
from ragib.eval.evalset import EvalQuery, EvalSet
from ragib.eval.measures import Run, retrieval
from ragib.eval.outcome import Outcome
from ragib.eval.registry import MEASURES, SET_MEASURES, applicable, measure
from ragib.eval.results import Interval, QueryResult
from ragib.eval.robustness import right
from ragib.eval.statistics import bootstrap_interval, bootstrap_statistic

POINTS = 200
"""Points of a risk-coverage curve that are kept, at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A pipeline's rows, its figures, and its curve of risk against coverage (may be empty)."""

    rows: list[QueryResult]
    figures: dict[str, Interval]
    risk_coverage: list[tuple[float, float]]


def measured(
    data: EvalSet,
    replies: Sequence[Reply],
    texts: Mapping[str, str],
    run: Run,
    bare: Mapping[str, str],
    timings: Mapping[str, Mapping[str, float]],
    judged: Mapping[str, Mapping[str, float]],
) -> Measured:
    """Measure what a pipeline made of a data set.

    Parameters
    ----------
    data
        The questions; measures of what it does not judge are left out.
    replies
        One a question, in their order.
    texts
        The documents that may be cited, by id, as they were read.
    run
        The documents found, for measures of retrieval; a question that failed is not in it.
    bare
        What the generator answers without passages, by query id.
    timings
        Seconds by stage of the questions whose latency was measured.
    judged
        The verdicts of a judge, by query id and measure; empty without one.
    """
    outcomes = [
        Outcome(query, reply.answer, texts, bare.get(query.id), judged.get(query.id, {}))
        for query, reply in zip(data.queries, replies, strict=True)
    ]
    values = _values(data, outcomes, run)
    rows = [
        _row(query, reply, values, timings.get(query.id, {}))
        for query, reply in zip(data.queries, replies, strict=True)
    ]
    clusters = data.clusters
    figures = {
        name: bootstrap_interval(list(of.values()), [clusters[query] for query in of])
        for name, of in values.items()
        if of
    }
    told = [outcome for outcome in outcomes if outcome.query.answerable is not None]
    if not told:
        return Measured(rows, figures, [])
    correct = np.array([right(outcome) for outcome in told])
    sure = confidences([_confidence(outcome) for outcome in told])
    for name in SET_MEASURES:

        def of(chosen: NDArray[np.intp], name: str = name) -> float:
            return SET_MEASURES[name].of(correct[chosen], sure[chosen])

        named = [clusters[outcome.query.id] for outcome in told]
        figures[name] = bootstrap_statistic(of, len(told), named)
    return Measured(rows, figures, _thinned(risk_coverage(correct, sure)))


def _values(data: EvalSet, outcomes: Sequence[Outcome], run: Run) -> dict[str, dict[str, float]]:
    names = applicable(data.queries)
    # What is found for a run goes deeper than what the compressor is given.
    ranked = [name for name in names if MEASURES[name].needs == "judgements"]
    values = measure(outcomes, [name for name in names if name not in ranked])
    if ranked:
        values |= retrieval(data.qrels, run, ranked)
    return {name: values[name] for name in names}


def _row(
    query: EvalQuery,
    reply: Reply,
    values: Mapping[str, Mapping[str, float]],
    timings: Mapping[str, float],
) -> QueryResult:
    answer = reply.answer
    return QueryResult(
        id=query.id,
        question=query.text,
        answers=query.answers,
        answerable=query.answerable,
        answer=answer.text if answer is not None else "",
        abstained=answer is not None and answer.abstained,
        confidence=answer.confidence if answer is not None else None,
        hits=tuple((hit.passage.id, float(hit.score)) for hit in reply.hits),
        evidence=tuple(
            (e.passage_id, e.start, e.end, float(e.score))
            for e in (answer.evidence if answer is not None else ())
        ),
        measures={name: of[query.id] for name, of in values.items() if query.id in of},
        timings=dict(timings),
        usage=dict(answer.usage) if answer is not None else {},
        cached=reply.cached,
        cluster=query.cluster,
        error=reply.error,
    )


def _confidence(outcome: Outcome) -> float | None:
    answer = outcome.answer
    return None if answer is None or answer.abstained else answer.confidence


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= POINTS:
        return points
    chosen = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    return [points[i] for i in chosen]
