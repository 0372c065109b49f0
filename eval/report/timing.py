"""The figures about time: where it goes by stage, how it is distributed, what load does to it."""

from __future__ import annotations

from collections.abc import Sequence

from ragib.eval.report.axis import cost_axis, linear_axis, usable
from ragib.eval.report.cast import COLOURS, Cast
from ragib.eval.report.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MARGIN,
    TOP,
    WIDTH,
    Bar,
    Series,
    bars,
    frame,
    lines,
    svg,
)
from ragib.eval.report.html import Html, join, tag
from ragib.eval.report.reading import Rows, RunData
from ragib.eval.report.tradeoffs import figure

_NAMES, _THICK = 250.0, 13.0
_QUANTILES = 50


def timing(run: RunData, cast: Cast) -> list[Html]:
    """Draw each figure about time for which the run has the figures."""
    drawn = [_distribution(run, cast), _load(run, cast), _waterfall(run, cast)]
    return [figure for figure in drawn if figure is not None]


def stages(run: RunData) -> list[str]:
    """List the stages whose latency was measured, without the total."""
    found = dict.fromkeys(stage for one in run.results.pipelines for stage in one.latency)
    return [stage for stage in found if stage != "total"]


def seconds(rows: Rows) -> list[float]:
    """Return the total time of each row that did not fail, ascending."""
    totals = []
    for row in rows.values():
        parts = row.timings
        if row.error is None and parts:
            totals.append(parts["total"] if "total" in parts else sum(parts.values()))
    return sorted(time for time in totals if usable(time, positive=True))


def _waterfall(run: RunData, cast: Cast) -> Html | None:
    names = stages(run)
    rows = []
    for i, pipeline in enumerate(run.results.pipelines):
        parts = [
            (colour % COLOURS, mean)
            for colour, name in enumerate(names)
            if usable(mean := pipeline.latency.get(name, {}).get("mean"), positive=True)
            and mean is not None
        ]
        if parts:
            total = sum(mean for _, mean in parts)
            rows.append(Bar(cast.labels[i], parts, f"{total:,.3g} ms", i))
    if not rows:
        return None
    longest = max(sum(mean for _, mean in row.parts) for row in rows)
    axis = linear_axis([longest], _NAMES, WIDTH - 70, zero=True, count=4)
    top = 26.0
    height = top + len(rows) * (_THICK + 6) + 8
    legend, left = [], _NAMES
    for colour, name in enumerate(names):
        box = tag("rect", x=left, y=4, width=11, height=11, class_=f"fill c{colour % COLOURS}")
        legend.append(join(box, tag("text", name, x=left + 16, y=14, class_="label")))
        left += 34 + 7 * len(name)
    picture = svg(
        "waterfall",
        "Mean time by stage",
        "; ".join(f"{row.name}: {row.said}" for row in rows),
        height,
        join(legend, bars(rows, axis, top, _THICK)),
    )
    return figure("Mean time by stage", "One query at a time, after warm-up.", picture)


def _distribution(run: RunData, cast: Cast) -> Html | None:
    series = []
    most = 0
    for i, rows in enumerate(run.rows):
        times = seconds(rows)
        most = max(most, len(times))
        if times:
            points = [(1000 * time, share) for time, share in _quantiles(times)]
            series.append(Series(cast.labels[i], points, cast.colours.get(i), (i,)))
    if not series:
        return None
    x = cost_axis([at for one in series for at, _ in one.points], LEFT, WIDTH - MARGIN)
    y = linear_axis([0.0, 1.0], BOTTOM, TOP)
    caption = (
        f"Share of queries answered within a time, of the {most:,} whose latency was measured: "
        "one at a time, nothing from the cache of the evaluation."
    )
    chart = join(
        frame(x, y, "total time, ms", "share of queries"),
        lines(series, x, y, dots=False, led=False),
    )
    said = "; ".join(f"{one.name}: half within {_median(one.points):,.3g} ms" for one in series)
    title = "Distribution of latency"
    return figure(title, caption, svg("cdf", title, said, HEIGHT, chart))


def _quantiles(times: Sequence[float]) -> list[tuple[float, float]]:
    """Return the steps of the share that is no later, thinned out to some fifty."""
    n = len(times)
    ranks = sorted({round(i * (n - 1) / _QUANTILES) for i in range(_QUANTILES + 1)})
    points, share = [], 0.0
    for rank in ranks:
        points.append((times[rank], share))
        share = (rank + 1) / n
        points.append((times[rank], share))
    return points


def _median(points: Sequence[tuple[float, float]]) -> float:
    return next(time for time, share in points if share >= 0.5)


def _load(run: RunData, cast: Cast) -> Html | None:
    series = []
    for i, pipeline in enumerate(run.results.pipelines):
        points = sorted(
            (row["rate"], row["p95"])
            for row in pipeline.load
            if usable(row.get("rate")) and usable(row.get("p95"), positive=True)
        )
        if points:
            series.append(Series(cast.labels[i], points, cast.colours.get(i), (i,)))
    if not series:
        return None
    x = linear_axis([rate for one in series for rate, _ in one.points], LEFT, WIDTH - MARGIN,
                    zero=True)  # fmt: skip
    y = cost_axis([p95 for one in series for _, p95 in one.points], BOTTOM, TOP)
    scale = "p95, ms (log scale)" if y.log else "p95, ms"
    chart = join(frame(x, y, "queries offered a second", scale), lines(series, x, y))
    said = "; ".join(f"{one.name}: {one.points[-1][1]:,.3g} ms at {one.points[-1][0]:g}/s"
                     for one in series)  # fmt: skip
    title = "Latency under load"
    caption = "Arrivals at random (Poisson), waiting included."
    return figure(title, caption, svg("load", title, said, HEIGHT, chart))
