"""Is one run worse than another? Paired tests, query by query, with one correction for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragib.errors import InputError
from ragib.eval.judge import PROMPTS
from ragib.eval.registry import SET_MEASURES, find
from ragib.eval.results import Comparison, QueryResult, RunResults
from ragib.eval.rundir import load_queries, load_results
from ragib.eval.statistics import FLIPS, bootstrap_interval, corrected, sign_flip_p

HEADLINE = ("f1/squad2", "em/squad2", "has-answer/dpr", "nDCG@10", "R@100")
"""Measures that are compared unless others are named: each one more asks more of all."""

LEVEL = 0.05
"""Corrected p-values below it count as significant."""

Rows = Mapping[str, QueryResult]
"""Rows by query id."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The table of a comparison: `pairs` names the pipelines compared, of the first run and second.

    `comparisons` name both pipelines; `notes` say what could not be compared.
    """

    pairs: Sequence[tuple[str, str]]
    comparisons: Sequence[Comparison]
    notes: Sequence[str]

    @property
    def worse(self) -> list[Comparison]:
        """Those in which the second run is significantly worse."""
        return [one for one in self.comparisons if is_worse(one)]


def is_worse(comparison: Comparison) -> bool:
    """Say whether `b` is significantly worse than `a`, by which way of the measure is better."""
    signs = {"higher": 1.0, "lower": -1.0, "neither": 0.0}
    sign = signs[find(comparison.measure).better]
    return comparison.p_holm < LEVEL and sign * comparison.difference < 0


def compare_runs(a: Path, b: Path, measures: Sequence[str] = ()) -> RunComparison:
    """Compare the pipelines of the same name, or the only one of each run.

    Parameters
    ----------
    a, b
        Run directories; differences are `b - a`, over the queries that both have.
    measures
        Names of measures; none takes those of `HEADLINE` that there are.

    Raises
    ------
    InputError
        A run cannot be read, nothing in them can be paired, a measure is in neither, or the runs
        were judged by different models.
    """
    for name in measures:
        if name in SET_MEASURES:
            raise InputError(f"{name} is of all queries together and cannot be paired")
        find(name)
    first, second = load_results(a), load_results(b)
    if PROMPTS.keys() & set(measures) and _judge(first) != _judge(second):
        raise InputError(
            f"{a} was judged by {_judge(first)}, {b} by {_judge(second)}; verdicts of two models "
            "cannot be compared"
        )
    pairs = _pairs((a, first), (b, second))
    table: list[tuple[str, str, str, Rows, Rows]] = []
    notes = []
    for name, other in pairs:
        rows = {row.id: row for row in load_queries(a, first, name)}
        others = {row.id: row for row in load_queries(b, second, other)}
        shared = rows.keys() & others.keys()
        if not shared:
            raise InputError(f"{a} and {b}: no query of {name!r} is in both")
        if alone := len(rows.keys() ^ others.keys()):
            notes.append(f"{name}: {alone} queries are in one run only and are left out")
        changed = [query for query in shared if rows[query].question != others[query].question]
        if changed:
            raise InputError(
                f"{a} and {b}: query {min(changed)!r} is another question in each; these are runs "
                "of different data sets"
            )
        there = [m for m in measures or HEADLINE if _has(rows, m) and _has(others, m)]
        missing = [m for m in measures if m not in there]
        if missing or not there:
            raise InputError(
                f"{a} and {b}: {' and '.join(missing) or 'no measure'} is not in the rows of "
                f"{name!r} of both; there are: {', '.join(_names(rows)) or 'none'}"
            )
        table += [(name, other, measure, rows, others) for measure in there]
    return RunComparison(pairs, _tested(table), notes)


def against_first(rows: Mapping[str, Sequence[QueryResult]]) -> list[Comparison]:
    """Compare every pipeline of a run with the first, in the measures of `HEADLINE` there are."""
    named = {name: {row.id: row for row in of} for name, of in rows.items()}
    first = next(iter(named), "")
    return _tested(
        [
            (first, name, measure, named[first], of)
            for name, of in named.items()
            if name != first
            for measure in HEADLINE
            if _has(of, measure) and _has(named[first], measure)
        ]
    )


def headline(row: QueryResult) -> QueryResult:
    """Leave out of a row what `against_first` does not look at."""
    measures = {name: row.measures[name] for name in HEADLINE if name in row.measures}
    return replace(row, measures=measures, hits=(), evidence=(), answer="", timings={}, usage={})


def _tested(table: Sequence[tuple[str, str, str, Rows, Rows]]) -> list[Comparison]:
    # So many flips that a clear difference stays one after the correction for the whole table.
    flips = max(FLIPS, 100 * len(table))
    found = []
    for a, b, measure, rows, others in table:
        pairs = [
            (row.measures[measure], others[query].measures[measure], row.cluster)
            for query, row in rows.items()
            if measure in row.measures and query in others and measure in others[query].measures
        ]
        differences = [second - first for first, second, _ in pairs]
        clusters = [cluster for _, _, cluster in pairs]
        interval = bootstrap_interval(differences, clusters)
        p = sign_flip_p(differences, clusters, flips=flips) if any(differences) else 1.0
        found.append(Comparison(a, b, measure, interval.mean, interval.low, interval.high, p, p))
    return corrected(found)


def _pairs(a: tuple[Path, RunResults], b: tuple[Path, RunResults]) -> list[tuple[str, str]]:
    names = [pipeline.name for pipeline in a[1].pipelines]
    others = [pipeline.name for pipeline in b[1].pipelines]
    if len(names) == len(others) == 1:
        return [(names[0], others[0])]
    shared = [name for name in names if name in others]
    if not shared:
        raise InputError(
            f"no pipeline has the same name in both: {a[0]} has {', '.join(names) or 'none'}; "
            f"{b[0]} has {', '.join(others) or 'none'}"
        )
    return [(name, name) for name in shared]


def _judge(run: RunResults) -> str:
    told = run.manifest.get("judge")
    return str(told.get("model")) if isinstance(told, Mapping) else "nobody"


def _has(rows: Rows, measure: str) -> bool:
    return any(measure in row.measures for row in rows.values())


def _names(rows: Rows) -> list[str]:
    return sorted({name for row in rows.values() for name in row.measures})
