"""The Pareto plot: quality against a cost, with the points that none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragib.eval.report.axis import Axis
from ragib.eval.report.chart import LETTER, LINE, WIDTH
from ragib.eval.report.html import Html, columns, join, shortened, tag

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@dataclass(frozen=True, slots=True)
class Point:
    """A pipeline at its cost `x` and quality `y`, which lies between `low` and `high`."""

    name: str
    x: float
    y: float
    low: float
    high: float
    pipeline: int
    said: str


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that none beats: at most as dear, at least as good, and better in one.

    Returns their places in `points`, from the cheapest on; of equal points all are given.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    best: tuple[float, float] | None = None
    for i in order:
        if best is None or points[i][1] > best[1] or points[i] == best:
            kept.append(i)
            best = points[i]
    return kept


def scatter(points: Sequence[Point], x: Axis, y: Axis) -> Html:
    """Draw points; those of the front dark, joined by steps and named, the first pipeline square.

    A step at a cost is the best quality to be had for that or less.
    """
    best = front([(point.x, point.y) for point in points])
    chosen = [points[i] for i in best]
    places = [(x.at(point.x), y.at(point.y)) for point in points]
    steps = ""
    for point in chosen:
        at = (x.at(point.x), y.at(point.y))
        steps += f"H{at[0]:.1f}V{at[1]:.1f}" if steps else f"M{at[0]:.1f} {at[1]:.1f}"
    if steps:
        steps += f"H{x.end:.1f}"
    order = sorted(range(len(points)), key=lambda i: i in best)
    marks = [_mark(points[i], places[i], y, i in best) for i in order]
    base = [point for point in points if point.pipeline == 0 and point not in chosen]
    line = tag("path", d=steps, class_="front") if steps else None
    return join(line, marks, _labels([*chosen, *base], points, best, x, y))


def _mark(point: Point, at: tuple[float, float], y: Axis, best: bool) -> Html:
    whisker = None
    if best:
        whisker = tag("line", x1=at[0], x2=at[0], y1=y.at(point.low), y2=y.at(point.high),
                      class_="whisker")  # fmt: skip
    if point.pipeline == 0:
        dot = tag("rect", x=at[0] - 4.5, y=at[1] - 4.5, width=9.0, height=9.0, class_="base")
    else:
        dot = tag("circle", cx=at[0], cy=at[1], r=5.0 if best else 3.6, class_="dot")
    title = tag("title", f"{point.name}: {point.said}")
    class_ = "mark best" if best else "mark other"
    return tag("g", title, whisker, dot, class_=class_, data_p=point.pipeline)


def _labels(
    named: Sequence[Point], points: Sequence[Point], best: Sequence[int], x: Axis, y: Axis
) -> Html:
    """Write names where nothing is in the way, as near as can be; shorter ones, or the number."""
    top, bottom = min(y.start, y.end), max(y.start, y.end)
    limits = (x.start, top, WIDTH - 4, bottom)
    taken = [(x.at(p.x) - 6, y.at(p.y) - 6, x.at(p.x) + 6, y.at(p.y) + 6) for p in points]
    ends = [*(x.at(points[i].x) for i in best[1:]), x.end]
    for i, right in zip(best, ends, strict=False):
        left, level = x.at(points[i].x), y.at(points[i].y)
        taken.append((left, level - 2, right, level + 2))
        taken.append((left - 2, y.at(points[i].high), left + 2, y.at(points[i].low)))
    written = []
    for point in sorted(named, key=lambda point: -point.y):
        at = (x.at(point.x), y.at(point.y))
        number = point.name.partition(" ")[0]
        for text in (shortened(point.name, 36), shortened(point.name, 24), number):
            box = _room(at, columns(text) * LETTER, taken, limits)
            if box is not None:
                taken.append(box)
                written.append(_label(text, point, at, box))
                break
    return join(*written)


def _label(text: str, point: Point, at: tuple[float, float], box: Box) -> Html:
    near = min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3])
    far = abs(near[0] - at[0]) + abs(near[1] - at[1]) > 14
    leader = f"M{at[0]:.1f} {at[1]:.1f}L{near[0]:.1f} {near[1]:.1f}"
    return tag(
        "g",
        tag("path", d=leader, class_="leader") if far else None,
        tag("text", text, x=box[0] + 2, y=box[3] - 4, class_="label halo"),
        class_="mark",
        data_p=point.pipeline,
    )


def _room(at: tuple[float, float], width: float, taken: Sequence[Box], limits: Box) -> Box | None:
    """Find the nearest free box of a width: beside the point, else above or below."""
    for step in range(0, 150, 6):
        for dy in (-step, step):
            for left in (at[0] + 9, at[0] - width - 9):
                box = (left, at[1] + dy - LINE / 2, left + width, at[1] + dy + LINE / 2)
                inside = (
                    box[0] >= limits[0]
                    and box[1] >= limits[1]
                    and box[2] <= limits[2]
                    and box[3] <= limits[3]
                )
                if inside and not any(_meet(box, other) for other in taken):
                    return box
    return None


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
