"""All measures by their versioned names: what each needs, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragib.errors import InputError, did_you_mean
from ragib.eval.abstention import aurc, auroc_of
from ragib.eval.answers import em_squad2, f1_squad2
from ragib.eval.citations import citation_support, citation_validity
from ragib.eval.containment import has_answer_dpr
from ragib.eval.evalset import EvalQuery
from ragib.eval.judge import CORRECT, SUPPORTED
from ragib.eval.measures import document_scores, retrieval
from ragib.eval.outcome import Outcome, kept_spans
from ragib.eval.retention import evidence_recall, judged
from ragib.eval.robustness import crag, false_flip, true_flip

Values = dict[str, float]
"""Query id -> value. Queries that a measure does not apply to are not in it."""

Needs = Literal["answers", "right answers", "labels", "judgements", "bare answers", "nothing"]
"""What a query must have: known answers or none, answers, a labelled record, judged documents."""

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of every query.

    `of` gives its values; `needs` says which queries it applies to; `about` says in a line what
    its mean is.
    """

    of: Callable[[Sequence[Outcome]], Values]
    needs: Needs
    better: Better
    about: str


@dataclass(frozen=True, slots=True)
class SetMeasure:
    """A measure of all queries together, from `right` (1 or 0) and confidence, both (n,)."""

    of: Callable[[NDArray[np.float64], NDArray[np.float64]], float]
    better: Better
    about: str


def applies(needs: Needs, query: EvalQuery) -> bool:
    """Say whether a query has what a measure needs of the data set."""
    match needs:
        case "answers" | "bare answers":
            return query.answerable is not None
        case "right answers":
            return bool(query.answers)
        case "labels":
            return query.record is not None and judged(query.record)
        case "judgements":
            return bool(query.judged)
        case "nothing":
            return True


def measure(outcomes: Sequence[Outcome], names: Sequence[str]) -> dict[str, Values]:
    """Compute measures: name -> query id -> value.

    A query that failed counts as answered wrongly: it has the worst value of every measure that
    applies to it, which is 0 where higher is better. Where neither is, it has no value.

    Parameters
    ----------
    outcomes
        One a query of the set, failures among them.
    names
        Keys of `MEASURES`, or any ir-measures name.

    Raises
    ------
    InputError
        There is no measure of a name.
    """
    return {name: find(name).of(outcomes) for name in names}


def find(name: str) -> Measure:
    """Return the measure of a name: a key of `MEASURES`, or any ir-measures name.

    Raises
    ------
    InputError
        There is none.
    """
    if name in MEASURES:
        return MEASURES[name]
    near = did_you_mean(name, MEASURES)
    if near or "/" in name:
        raise InputError(f"unknown measure {name!r}{near}; there are: {', '.join(MEASURES)}")
    retrieval({"q": {"d": 1}}, {}, [name])
    return _ranked(name)


def applicable(queries: Sequence[EvalQuery]) -> list[str]:
    """Return the names of all measures that apply to any of these queries."""
    return [
        name
        for name, measure in MEASURES.items()
        if any(applies(measure.needs, query) for query in queries)
    ]


def _each(
    function: Callable[[Outcome], float | None], needs: Needs, better: Better, about: str
) -> Measure:
    return Measure(partial(_values, function, needs), needs, better, about)


def _values(
    function: Callable[[Outcome], float | None], needs: Needs, outcomes: Sequence[Outcome]
) -> Values:
    asked = [outcome for outcome in outcomes if applies(needs, outcome.query)]
    values = {outcome.query.id: function(outcome) for outcome in asked}
    return {query: value for query, value in values.items() if value is not None}


def _ranked(name: str) -> Measure:
    about = f"{name} of the documents found (ir-measures)"
    return Measure(partial(_retrieval, name), "judgements", "higher", about)


def _retrieval(name: str, outcomes: Sequence[Outcome]) -> Values:
    qrels = {o.query.id: o.query.judged for o in outcomes if applies("judgements", o.query)}
    run = {o.query.id: document_scores(o.answer.hits) for o in outcomes if o.answer is not None}
    return retrieval(qrels, {query: run[query] for query in run if query in qrels}, [name])[name]


def _em(outcome: Outcome) -> float:
    return em_squad2(outcome.given, outcome.query.answers) if outcome.answer is not None else 0.0


def _f1(outcome: Outcome) -> float:
    return f1_squad2(outcome.given, outcome.query.answers) if outcome.answer is not None else 0.0


def _has_answer(outcome: Outcome) -> float:
    return float(has_answer_dpr(outcome.given, outcome.query.answers))


def _answer_in_hits(outcome: Outcome) -> float:
    texts = () if outcome.answer is None else (hit.passage.text for hit in outcome.answer.hits)
    return float(any(has_answer_dpr(text, outcome.query.answers) for text in texts))


def _evidence_recall(outcome: Outcome) -> float:
    record, answer = outcome.query.record, outcome.answer
    return evidence_recall(record, kept_spans(answer)) if record and answer else 0.0


def _retained(outcome: Outcome) -> float:
    return float(_evidence_recall(outcome) == 1.0)


def _kept(outcome: Outcome) -> float | None:
    usage = outcome.answer.usage if outcome.answer is not None else {}
    words = usage.get("words_in", 0)
    return usage.get("words_kept", 0) / words if words else None


def _removed(outcome: Outcome) -> float | None:
    if outcome.answer is None:
        return 0.0
    kept = _kept(outcome)
    return None if kept is None else 1.0 - kept


def _cached(outcome: Outcome) -> float | None:
    usage = outcome.answer.usage if outcome.answer is not None else {}
    prompt, cached = usage.get("prompt_tokens", 0), usage.get("cached_tokens")
    return cached / prompt if prompt and cached is not None else None


def _abstained(outcome: Outcome) -> float | None:
    return None if outcome.answer is None else float(outcome.answer.abstained)


def _judged(name: str, outcome: Outcome) -> float | None:
    return outcome.judged.get(name)


MEASURES: Mapping[str, Measure] = {
    "em/squad2": _each(_em, "answers", "higher", "answers equal to a right one once normalised"),
    "f1/squad2": _each(_f1, "answers", "higher", "overlap of words with the nearest right answer"),
    "has-answer/dpr": _each(
        _has_answer, "right answers", "higher", "answers that hold a right one, token by token"
    ),
    "crag/dpr": _each(crag, "answers", "higher", "1 for right, 0 for abstained, -1 for wrong"),
    "abstained": _each(_abstained, "nothing", "neither", "questions that got no answer"),
    "answer-in-hits/dpr": _each(
        _answer_in_hits, "right answers", "higher", "questions whose hits hold a right answer"
    ),
    "nDCG@10": _ranked("nDCG@10"),
    "R@100": _ranked("R@100"),
    "RR@10": _ranked("RR@10"),
    "evidence-recall": _each(
        _evidence_recall, "labels", "higher", "labelled evidence that reaches the generator"
    ),
    "retention": _each(
        _retained, "labels", "higher", "questions all of whose evidence reaches the generator"
    ),
    "kept": _each(_kept, "nothing", "neither", "words of the hits that the compressor keeps"),
    "removed": _each(_removed, "nothing", "higher", "words of the hits that it leaves out"),
    "cached": _each(_cached, "nothing", "neither", "prompt tokens that the engine had cached"),
    "citation-validity": _each(
        citation_validity, "nothing", "higher", "citations that are verbatim in their document"
    ),
    "citation-support/dpr": _each(
        citation_support, "right answers", "higher", "answers that cite a text with a right one"
    ),
    "TFR/dpr": _each(
        true_flip, "bare answers", "lower", "wrong with passages, of those right without"
    ),
    "FFR/dpr": _each(
        false_flip, "bare answers", "higher", "right with passages, of those wrong without"
    ),
    CORRECT: _each(
        partial(_judged, CORRECT), "answers", "higher", "answers that a judge finds correct"
    ),
    SUPPORTED: _each(
        partial(_judged, SUPPORTED),
        "nothing",
        "higher",
        "answers that a judge finds supported by the evidence",
    ),
}
"""Name -> measure of every query."""

SET_MEASURES: Mapping[str, SetMeasure] = {
    "AURC/dpr": SetMeasure(aurc, "lower", "area under risk against coverage"),
    "AUROC/dpr": SetMeasure(auroc_of, "higher", "chance that a right answer is the surer one"),
}
"""Name -> measure of all queries together; right is as `ragib.eval.robustness.right` has it."""
