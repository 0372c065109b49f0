"""Tables that can be sorted by any column, and scroll where they are wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragib.eval.report.axis import usable
from ragib.eval.report.html import DASH, Child, Html, tag

MB = 1e6
"""Bytes of a megabyte."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and the number it is sorted by (`None`: by its text, or last)."""

    shown: Child
    value: float | None = None
    best: bool = False


NOTHING = Cell(None)
"""The cell of a figure that there is not."""


def table(
    caption: str,
    names: Sequence[str],
    header: Sequence[str],
    columns: Sequence[Sequence[Cell]],
    *,
    key: str | None = None,
    first: str = "pipeline",
) -> Html:
    """Lay out a table.

    Parameters
    ----------
    caption
        Its first sentence names the box that scrolls.
    names
        One a row; `first` says of what.
    header, columns
        The other columns, each with one cell a row.
    key
        Id of the table.
    """
    heads = [_sortable("#"), _sortable(first, text=True), *map(_sortable, header)]
    rows = []
    for i, name in enumerate(names):
        number = tag("td", i + 1, data_v=str(i + 1), class_="number")
        label = tag("th", name, scope="row", dir="auto", data_v=name)
        rows.append(tag("tr", number, label, [_cell(column[i]) for column in columns]))
    body = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
        class_="sortable",
        id=key,
    )
    return scrolling(body, caption.partition(".")[0])


def scrolling(content: Html, name: str) -> Html:
    """Put wide content into a box that scrolls by keyboard as well."""
    return tag("div", content, class_="wide", tabindex="0", role="region", aria_label=name)


def number(value: float | None, best: float | None = None, *, size: float = 1.0) -> Cell:
    """Show a number, in units of `size`, with three digits or more; bold if it is the best."""
    if value is None or not usable(value):
        return NOTHING
    top = value == best
    value /= size
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return Cell(f"{value:,.{digits}f}", value, top)


def _sortable(name: str, *, text: bool = False) -> Html:
    return tag("th", tag("button", name, type="button"), scope="col", data_text=text)


def _cell(cell: Cell) -> Html:
    shown = tag("span", DASH, class_="none") if cell.shown is None else cell.shown
    key = cell.shown if isinstance(cell.shown, str) else None
    if cell.value is not None:
        key = repr(float(cell.value))
    return tag("td", shown, data_v=key, class_="best" if cell.best else None)
