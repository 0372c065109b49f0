"""The figures with a curve a pipeline, and the ladder with one a kind of index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragib.eval.report.axis import Axis, cost_axis, linear_axis, usable
from ragib.eval.report.cast import COLOURS, Cast, shared_settings
from ragib.eval.report.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MARGIN,
    TOP,
    WIDTH,
    Series,
    frame,
    lines,
    svg,
)
from ragib.eval.report.html import Html, join
from ragib.eval.report.reading import RunData
from ragib.eval.report.tradeoffs import figure
from ragib.eval.results import Rung

_CURVES = (
    (
        "risk-coverage",
        "Risk against coverage",
        "share of questions answered",
        "share of these wrong",
        "When only the surest answers are given. Lower is better.",
    ),
    (
        "retention",
        "Answers kept against share kept",
        "share of words kept",
        "share of answers kept",
        "How often what the compressor keeps still holds the answer. Up and to the left is better.",
    ),
    (
        "noise",
        "Robustness to noise",
        "distractors among the passages",
        "share answered right",
        "As passages that do not help are put among those that do. Flatter is better.",
    ),
)
_MOST = 120


def curves(run: RunData, cast: Cast) -> list[Html]:
    """Draw each curve that some pipeline has, and the ladder a measure."""
    drawn = [_curve(run, cast, *names) for names in _CURVES]
    by_measure: dict[str, list[Rung]] = {}
    for rung in run.results.ladder:
        if rung.passages > 0 and all(map(usable, (rung.mean, rung.low, rung.high))):
            by_measure.setdefault(rung.measure, []).append(rung)
    drawn += [_ladder(number, *named) for number, named in enumerate(by_measure.items())]
    return [figure for figure in drawn if figure is not None]


def _curve(
    run: RunData, cast: Cast, key: str, title: str, x_label: str, y_label: str, caption: str
) -> Html | None:
    alike: dict[tuple[tuple[float, float], ...], list[int]] = {}
    for i, pipeline in enumerate(run.results.pipelines):
        points = sorted((x, y) for x, y in pipeline.curves.get(key, ()) if usable(x) and usable(y))
        if points:
            alike.setdefault(tuple(_thinned(points)), []).append(i)
    series = _named(run, cast, alike)
    if not series:
        return None
    x = _shares([at for one in series for at, _ in one.points], LEFT, WIDTH - MARGIN)
    y = _shares([at for one in series for _, at in one.points], BOTTOM, TOP)
    few = max(len(one.points) for one in series) <= 12
    chart = join(frame(x, y, x_label, y_label), lines(series, x, y, dots=few))
    said = "; ".join(
        f"{one.name}: {one.points[0][1]:.3g} at {one.points[0][0]:.3g}, "
        f"{one.points[-1][1]:.3g} at {one.points[-1][0]:.3g}"
        for one in series
    )
    return figure(title, caption, svg(key, title, said, HEIGHT, chart))


def _named(
    run: RunData, cast: Cast, alike: Mapping[tuple[tuple[float, float], ...], list[int]]
) -> list[Series]:
    """Make a line of each curve; pipelines that share one are named by what else they share."""
    few = len(alike) <= COLOURS < len(cast.labels)
    series = []
    for colour, (points, members) in enumerate(alike.items()):
        chosen = [cast.colours[i] for i in members if i in cast.colours]
        name = cast.labels[members[0]]
        if len(members) > 1:
            name = f"{shared_settings(run.results.pipelines, members)} ({len(members)})"
        one = colour if few else min(chosen, default=None)
        series.append(Series(name, points, one, tuple(members)))
    return series


def _ladder(number: int, measure: str, rungs: Sequence[Rung]) -> Html:
    by_kind: dict[str, list[Rung]] = {}
    for rung in sorted(rungs, key=lambda rung: rung.passages):
        by_kind.setdefault(rung.kind, []).append(rung)
    series = [
        Series(
            kind,
            [(rung.passages, rung.mean) for rung in steps],
            colour % COLOURS,
            band=[(rung.low, rung.high) for rung in steps],
        )
        for colour, (kind, steps) in enumerate(by_kind.items())
    ]
    x = cost_axis([rung.passages for rung in rungs], LEFT, WIDTH - MARGIN)
    y = linear_axis([bound for r in rungs for bound in (r.low, r.high, r.mean)], BOTTOM, TOP)
    chart = join(frame(x, y, "passages in the index", measure), lines(series, x, y))
    said = "; ".join(
        f"{kind}: " + ", ".join(f"{rung.mean:.3f} of {rung.passages:,}" for rung in steps)
        for kind, steps in by_kind.items()
    )
    title = f"{measure} as the index grows"
    caption = "The same queries over more and more passages; bands are 95 % intervals."
    return figure(title, caption, svg(f"ladder-{number}", title, said, HEIGHT, chart))


def _shares(values: Sequence[float], start: float, end: float) -> Axis:
    return linear_axis(values, start, end, zero=True)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    n = len(points)
    if n <= _MOST:
        return list(points)
    return [points[round(i * (n - 1) / (_MOST - 1))] for i in range(_MOST)]
