"""Who is who in a report: the measure it turns on, names of pipelines, and who gets a colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ragib.eval.registry import MEASURES, SET_MEASURES, Better
from ragib.eval.report.axis import usable
from ragib.eval.report.reading import Rows, RunData
from ragib.eval.report.scatter import front
from ragib.eval.results import Interval, PipelineResult, RunResults

QUALITY = ("f1/squad2", "em/squad2", "has-answer/dpr", "nDCG@10", "RR@10", "R@100")
"""Measures a report may turn on, the preferred first; of each more is better."""

MAIN = ("f1/squad2", "em/squad2", "nDCG@10", "R@100", "evidence-recall", "kept")
"""Measures of the verdict; all others are in a table further down."""

COLOURS = 6
"""Pipelines that a chart of lines shows in colour; more cannot be told apart."""

READ = (("words_kept", "words"), ("prompt_tokens", "tokens"))
"""Keys of a row's usage that say how much the generator read, and the unit."""


@dataclass(frozen=True, slots=True)
class Cast:
    """`quality` is a measure, if any; `labels` are numbered names; `colours` by pipeline.

    `rival` is the best pipeline but the baseline, or the baseline if it is alone.
    """

    quality: str | None
    labels: Sequence[str]
    colours: Mapping[int, int]
    rival: int

    def note(self) -> str:
        """Say who is in colour."""
        grey = len(self.labels) - len(self.colours)
        if not grey:
            return ""
        what = f"p95 and {self.quality}" if self.quality else "p95"
        return (
            f"In colour: the baseline, and pipelines on or near the front of {what}. "
            f"The other {grey} are grey; “Emphasise” brings one out."
        )


def cast(run: RunData) -> Cast:
    """Choose the measure, and the pipelines that get a colour: the baseline, then the front."""
    pipelines = run.results.pipelines
    quality = quality_measure(run.results)
    labels = [f"{number} {pipeline.name}" for number, pipeline in enumerate(pipelines, 1)]
    chosen = [0] if pipelines else []
    left = [i for i in range(len(pipelines)) if i]
    while left and len(chosen) < COLOURS:
        places = [_place(pipelines[i], quality) for i in left]
        layer = [left[i] for i in sorted(front(places))]
        layer.sort(key=lambda i: -_place(pipelines[i], quality)[1])
        chosen += layer[: COLOURS - len(chosen)]
        left = [i for i in left if i not in layer]
    rival = max(range(1, len(pipelines)), key=lambda i: _place(pipelines[i], quality)[1], default=0)
    return Cast(quality, labels, {i: colour for colour, i in enumerate(sorted(chosen))}, rival)


def quality_measure(results: RunResults) -> str | None:
    """Return the measure to turn on: the first of `QUALITY` there is, or the first of any."""
    present = measures(results)
    return next((name for name in (*QUALITY, *present) if name in present), None)


def measures(results: RunResults) -> list[str]:
    """List the measures of a run, those of `QUALITY` first."""
    present = dict.fromkeys(name for one in results.pipelines for name in one.measures)
    return [name for name in QUALITY if name in present] + [n for n in present if n not in QUALITY]


def main_measures(results: RunResults) -> list[str]:
    """List the measures of the verdict: those of `MAIN` there are, or the first of any."""
    present = measures(results)
    return [name for name in MAIN if name in present] or present[: len(MAIN)]


def better(measure: str) -> Better:
    """Say which way of a measure is better, as far as it is known."""
    known = MEASURES.get(measure) or SET_MEASURES.get(measure)
    return known.better if known is not None else "neither"


def mean_of(pipeline: PipelineResult, measure: str | None) -> Interval | None:
    """Return a measure of a pipeline if it has it, and all of it can be shown."""
    found = pipeline.measures.get(measure) if measure is not None else None
    if found is None or not all(map(usable, (found.mean, found.low, found.high))):
        return None
    return found


def total_ms(pipeline: PipelineResult, which: str) -> float | None:
    """Return a percentile of the total latency, in milliseconds, if it was measured."""
    found = pipeline.latency.get("total", {}).get(which)
    return found if found is not None and usable(found) else None


def index_bytes(pipeline: PipelineResult) -> float | None:
    """Return the bytes of the index, if known."""
    found = pipeline.cost.get("index_bytes")
    return found if found is not None and usable(found) else None


def amount_read(rows: Rows, key: str) -> float | None:
    """Return the mean of one number of the rows' usage, if every row without error has it."""
    found = [row.usage.get(key) for row in rows.values() if row.error is None]
    numbers = [number for number in found if number is not None]
    return fmean(numbers) if numbers and len(numbers) == len(found) else None


def read_units(run: RunData) -> list[tuple[str, str]]:
    """List the keys of `READ` that are above zero in some pipeline."""
    return [(key, unit) for key, unit in READ if any(amount_read(rows, key) for rows in run.rows)]


def shared_settings(pipelines: Sequence[PipelineResult], members: Sequence[int]) -> str:
    """Name what some pipelines have in common and others have not; their numbers if nothing."""
    first = pipelines[members[0]].settings
    same = [
        _said(key.rpartition(".")[2], value)
        for key, value in first.items()
        if all(pipelines[i].settings.get(key, ...) == value for i in members)
        and any(one.settings.get(key, ...) != value for one in pipelines)
    ]
    return " ".join(same) or ", ".join(str(i + 1) for i in members)


def _said(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(_said(str(inner), one) for inner, one in value.items())
    return value if isinstance(value, str) else f"{key}={value}"


def _place(pipeline: PipelineResult, quality: str | None) -> tuple[float, float]:
    found = mean_of(pipeline, quality)
    cost = total_ms(pipeline, "p95")
    return (
        float("inf") if cost is None else cost,
        float("-inf") if found is None else found.mean,
    )
