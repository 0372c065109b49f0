"""The figures on which a choice turns: quality against latency, index size and words read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ragib.eval.report.axis import cost_axis, linear_axis, usable
from ragib.eval.report.cast import (
    Cast,
    amount_read,
    index_bytes,
    mean_of,
    read_units,
    total_ms,
)
from ragib.eval.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, frame, svg
from ragib.eval.report.html import Html, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.report.scatter import Point, front, scatter
from ragib.eval.report.table import MB
from ragib.eval.results import PipelineResult

NOTE = (
    "Up and to the left is better. Points in colour are the front: no other pipeline is at least "
    "as good for less. Their whiskers are 95 % intervals; the square is the baseline."
)
"""What one needs to read the plots of this file."""

_Cost = Callable[[int, PipelineResult], float | None]


def tradeoffs(run: RunData, cast: Cast) -> list[Html]:
    """Draw each Pareto plot for which the run has the figures."""
    costs: list[tuple[str, str, str, _Cost]] = [
        ("pareto-latency", "p95 latency", "p95 total latency, ms", _latency),
        ("pareto-size", "index size", "index, MB", _megabytes),
    ]
    for key, unit in read_units(run)[:1]:
        name = f"{unit} to the generator"
        costs.append(("pareto-read", name, f"{name}, mean", partial(_amount, run, key)))
    drawn = [_pareto(run, cast, *cost) for cost in costs]
    return [figure for figure in drawn if figure is not None]


def figure(title: str, caption: str, picture: Html) -> Html:
    """Make a figure with its title and what one needs to read it."""
    head = tag("figcaption", tag("h3", title), tag("p", caption) if caption else None)
    return tag("figure", head, tag("div", picture, class_="picture"))


def _pareto(run: RunData, cast: Cast, key: str, what: str, label: str, cost: _Cost) -> Html | None:
    points = []
    for i, pipeline in enumerate(run.results.pipelines):
        found, x = mean_of(pipeline, cast.quality), cost(i, pipeline)
        if found is not None and x is not None and usable(x, positive=True):
            said = f"{cast.quality} {found.mean:.3f}, {label} {x:,.4g}"
            name = cast.labels[i]
            points.append(Point(name, x, found.mean, found.low, found.high, i, said))
    if not points or cast.quality is None:
        return None
    best = [points[i] for i in front([(point.x, point.y) for point in points])]
    x_axis = cost_axis([point.x for point in points], LEFT, WIDTH - RIGHT)
    bounds = [bound for point in best for bound in (point.low, point.high)]
    y_axis = linear_axis([*(point.y for point in points), *bounds], BOTTOM, TOP)
    title = f"{cast.quality} against {what}"
    chart = join(frame(x_axis, y_axis, label, cast.quality), scatter(points, x_axis, y_axis))
    described = "; ".join(f"{point.name}: {point.said}" for point in best)
    picture = svg(key, title, f"The front, cheapest first. {described}", HEIGHT, chart)
    return figure(title, "", picture)


def _latency(i: int, pipeline: PipelineResult) -> float | None:
    return total_ms(pipeline, "p95")


def _megabytes(i: int, pipeline: PipelineResult) -> float | None:
    size = index_bytes(pipeline)
    return None if size is None else size / MB


def _amount(run: RunData, key: str, i: int, pipeline: PipelineResult) -> float | None:
    return amount_read(run.rows[i], key)
