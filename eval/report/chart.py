"""Charts as SVG: a frame with two axes, lines in it, and stacked bars.

Sizes are SVG units, of which a chart is `WIDTH` wide; it shrinks and grows with the page. Colours
and dashes are classes, `c0` to `c5`, that the style sheet gives values for light, dark and print;
`other` is grey. What belongs to pipelines 0 and 3 carries `data-p="0 3"`, so that the page can
bring it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragib.eval.report.axis import Axis, short
from ragib.eval.report.html import Html, join, shortened, tag

WIDTH, HEIGHT = 560.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 16.0, 14.0, 296.0
MARGIN = 190.0
"""Room at the right for labels, where a chart has some."""
LETTER, LINE = 6.9, 15.0
"""Width of a column of text, which errs on the wide side, and height of a line."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points from left to right, and how it is shown.

    `colour` is the number of a colour, `None` for grey, which has no label. `band` is the low and
    high bound of each point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = None
    pipelines: tuple[int, ...] = ()
    band: Sequence[tuple[float, float]] = ()


def colour_class(colour: int | None) -> str:
    """Name the class of a colour."""
    return "other" if colour is None else f"c{colour}"


def svg(key: str, title: str, description: str, height: float, *content: Html) -> Html:
    """Make a picture that screen readers know by its title and description."""
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        content,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def frame(x: Axis, y: Axis, x_label: str, y_label: str) -> Html:
    """Draw grid lines, ticks and the names of both axes."""
    top, bottom = min(y.start, y.end), max(y.start, y.end)
    parts: list[Html] = []
    for value in y.ticks:
        at = y.at(value)
        parts.append(tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", short(value), x=x.start - 7, y=at + 4, class_="tick end"))
    for value in x.ticks:
        at = x.at(value)
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 5, class_="axis"))
        parts.append(tag("text", short(value), x=at, y=bottom + 19, class_="tick mid"))
    parts.append(tag("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis"))
    scale = " (log scale)" if x.log else ""
    middle = (x.start + x.end) / 2
    parts.append(tag("text", x_label + scale, x=middle, y=bottom + 38, class_="name mid"))
    turn = f"rotate(-90 14 {(top + bottom) / 2:g})"
    name = tag("text", y_label, x=14.0, y=(top + bottom) / 2, class_="name mid", transform=turn)
    return join(*parts, name)


def lines(
    series: Sequence[Series], x: Axis, y: Axis, *, dots: bool = True, led: bool = True
) -> Html:
    """Draw lines, grey ones below, with the names of the coloured ones at the right.

    Parameters
    ----------
    series, x, y
        What is drawn, and where; the right end of `x` leaves `MARGIN` for the names.
    dots
        Mark each point.
    led
        Join the end of each line to its name.
    """
    ordered = sorted(series, key=lambda one: one.colour is not None)
    drawn = [_line(one, x, y, dots or len(one.points) == 1) for one in ordered if one.points]
    named = [one for one in series if one.colour is not None and one.points]
    ends = [(x.at(one.points[-1][0]), y.at(one.points[-1][1])) for one in named]
    places = spread([end[1] for end in ends], LINE, min(y.start, y.end), max(y.start, y.end))
    labels = []
    for one, (end_x, end_y), place in zip(named, ends, places, strict=True):
        left = x.end + 10
        if led:
            path = f"M{end_x:.1f} {end_y:.1f}L{left:.1f} {place:.1f}"
        else:
            path = f"M{left - 6:.1f} {place:.1f}h14"
            left += 12
        text = shortened(one.name, int((WIDTH - left - 3) / LETTER))
        label = tag("text", text, x=left + 3, y=place + 4, class_="label")
        shown = tag("path", d=path, class_="leader" if led else "line")
        labels.append(_group(one, shown, tag("title", one.name), label))
    return join(drawn, labels)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places apart to at least `gap`, in order, within `low` and `high` if there is room."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = list(wanted)
    floor = low
    for i in order:
        places[i] = floor = max(wanted[i], floor)
        floor += gap
    ceiling = high
    for i in reversed(order):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of parts: `(colour, value)`, from left to right."""

    name: str
    parts: Sequence[tuple[int, float]]
    said: str
    pipeline: int | None = None


def bars(rows: Sequence[Bar], x: Axis, top: float, thickness: float) -> Html:
    """Draw stacked bars below each other: the name at the left, what is `said` at the right."""
    drawn = []
    width = int((x.start - 8) / LETTER)
    for number, row in enumerate(rows):
        y = top + number * (thickness + 6)
        parts, done = [], 0.0
        for colour, value in row.parts:
            left, right = x.at(done), x.at(done + value)
            box = tag("rect", x=left, y=y, width=max(right - left, 0.0), height=thickness,
                      class_=f"fill c{colour}")  # fmt: skip
            parts.append(box)
            done += value
        middle = y + thickness / 2 + 4
        drawn.append(
            tag(
                "g",
                tag("title", f"{row.name}: {row.said}"),
                tag("text", shortened(row.name, width), x=x.start - 8, y=middle, class_="tick end"),
                parts,
                tag("text", row.said, x=x.at(done) + 6, y=middle, class_="tick"),
                data_p=row.pipeline,
                class_="mark",
            )
        )
    return join(*drawn)


def _line(one: Series, x: Axis, y: Axis, dots: bool) -> Html:
    places = [(x.at(a), y.at(b)) for a, b in one.points]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
    band = None
    if one.band:
        upper = [(a, y.at(high)) for (a, _), (_, high) in zip(places, one.band, strict=True)]
        lower = [(a, y.at(low)) for (a, _), (low, _) in zip(places, one.band, strict=True)]
        around = "L".join(f"{a:.1f} {b:.1f}" for a, b in [*upper, *reversed(lower)])
        band = tag("path", d=f"M{around}Z", class_="band")
    marks = [tag("circle", cx=a, cy=b, r=3.2, class_="dot") for a, b in places] if dots else None
    return _group(one, band, tag("title", one.name), tag("path", d=path, class_="line"), marks)


def _group(one: Series, *content: Html | list[Html] | None) -> Html:
    whose = " ".join(map(str, one.pipelines)) or None
    return tag("g", *content, class_=f"mark {colour_class(one.colour)}", data_p=whose)
