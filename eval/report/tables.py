"""Tables: the verdict, and those with every figure of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ragib.eval.report.axis import finite
from ragib.eval.report.cast import (
    QUALITY,
    Cast,
    amount_read,
    index_bytes,
    mean_of,
    measures,
    read_units,
    total_ms,
)
from ragib.eval.report.html import DASH, Child, Html, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.report.tradeoffs import MB
from ragib.eval.results import Comparison, Interval

MAIN = 5
"""Measures in the verdict; all are in a table further down."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows, and the number it is sorted by (`None`: none, sorted last)."""

    shown: Child
    value: float | None
    best: bool = False


def verdict(run: RunData, cast: Cast) -> Html:
    """Lay out pipelines by main measures and costs, with stars where the baseline is left."""
    pipelines = run.results.pipelines
    against = _against_baseline(run)
    header, columns = [], []
    for measure in measures(run.results)[:MAIN]:
        found = [mean_of(one, measure) for one in pipelines]
        best = _best([None if one is None else one.mean for one in found], most=True)
        header.append(measure)
        columns.append(
            [
                _measured(
                    one, against.get((pipelines[i].name, measure)), measure in QUALITY and i == best
                )
                for i, one in enumerate(found)
            ]
        )
    costs = [
        ("p50, ms", [total_ms(one, "p50") for one in pipelines]),
        ("p95, ms", [total_ms(one, "p95") for one in pipelines]),
        ("index, MB", [_scaled(index_bytes(one), MB) for one in pipelines]),
        *(
            (f"{unit} read", [amount_read(rows, key) for rows in run.rows])
            for key, unit in read_units(run)
        ),
    ]
    for name, values in costs:
        if any(value is not None for value in values):
            header.append(name)
            best = _best(values, most=False)
            columns.append([_number(value, i == best) for i, value in enumerate(values)])
    header.append("errors")
    columns.append([Cell(f"{len(one.errors):,}", len(one.errors)) for one in pipelines])
    caption = (
        "Means with 95 % intervals; the best of a column is bold. ▲ and ▼: above and below "
        "the baseline, pipeline 1, with p < .05 *, < .01 **, < .001 *** (paired, Holm-corrected "
        "over the table). A query that failed counts as 0."
    )
    return table(caption, [pipeline.name for pipeline in pipelines], header, columns, key="verdict")


def table(
    caption: str,
    names: Sequence[str],
    header: Sequence[str],
    columns: Sequence[Sequence[Cell]],
    *,
    key: str | None = None,
    first: str = "pipeline",
) -> Html:
    """Lay out a table that can be sorted by any of its columns, inside a box that scrolls."""
    heads = [_sortable("#"), _sortable(first, text=True), *map(_sortable, header)]
    rows = []
    for i, name in enumerate(names):
        cells = [_cell(column[i]) for column in columns]
        number = tag("td", i + 1, data_v=str(i + 1), class_="number")
        label = tag("th", name, scope="row", dir="auto", data_v=name)
        rows.append(tag("tr", number, label, cells))
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


def all_measures(run: RunData) -> Html:
    """Lay out every measure of every pipeline."""
    header = measures(run.results)
    pipelines = run.results.pipelines
    columns = [[_measured(mean_of(one, measure)) for one in pipelines] for measure in header]
    names = [one.name for one in pipelines]
    return table("Every measure. Means with 95 % intervals.", names, header, columns)


def all_costs(run: RunData) -> Html:
    """Lay out every latency (milliseconds) and every cost of every pipeline."""
    pipelines = run.results.pipelines
    header, columns = [], []
    pairs = dict.fromkeys(
        (stage, which) for one in pipelines for stage in one.latency for which in one.latency[stage]
    )
    for stage, which in pairs:
        header.append(f"{stage} {which}, ms")
        columns.append([_number(one.latency.get(stage, {}).get(which)) for one in pipelines])
    for name in dict.fromkeys(name for one in pipelines for name in one.cost):
        size = MB if name.endswith("_bytes") else 1.0
        header.append(f"{name.removesuffix('_bytes')}, MB" if size == MB else name)
        columns.append([_number(_scaled(one.cost.get(name), size)) for one in pipelines])
    return table("Latency and cost. All there is.", [p.name for p in pipelines], header, columns)


def all_settings(run: RunData) -> Html:
    """Lay out the grid's keys with the value of each pipeline."""
    pipelines = run.results.pipelines
    header = list(dict.fromkeys(key for one in pipelines for key in one.settings))
    columns = []
    for key in header:
        cells = []
        for one in pipelines:
            value = one.settings.get(key)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            there = key in one.settings
            cells.append(Cell(shown if there else None, float(str(value)) if number else None))
        columns.append(cells)
    names = [one.name for one in pipelines]
    return table("Settings. The keys of the grid.", names, header, columns)


def all_comparisons(run: RunData) -> Html:
    """Lay out every paired comparison."""
    found = run.results.comparisons
    header = ["against", "measure", "difference", "low", "high", "p", "p, Holm"]
    columns = [
        [Cell(one.a, None) for one in found],
        [Cell(one.measure, None) for one in found],
        [Cell(f"{one.difference:+.4f}", one.difference) for one in found],
        [Cell(f"{one.low:+.4f}", one.low) for one in found],
        [Cell(f"{one.high:+.4f}", one.high) for one in found],
        [Cell(f"{one.p:.4f}", one.p) for one in found],
        [Cell([f"{one.p_holm:.4f}", _stars(one)], one.p_holm) for one in found],
    ]
    caption = "Paired differences. Bounds are of the 95 % interval of the difference."
    return table(caption, [one.b for one in found], header, columns)


def significant(comparison: Comparison) -> str:
    """Return the stars of a corrected p-value, or nothing."""
    return "*" * sum(comparison.p_holm < level for level in (0.05, 0.01, 0.001))


def _against_baseline(run: RunData) -> dict[tuple[str, str], Comparison]:
    if not run.results.pipelines:
        return {}
    first = run.results.pipelines[0].name
    return {(one.b, one.measure): one for one in run.results.comparisons if one.a == first}


def _stars(comparison: Comparison) -> Html | None:
    stars = significant(comparison)
    if not stars:
        return None
    mark, word = ("▲", "above") if comparison.difference > 0 else ("▼", "below")
    said = f"{comparison.difference:+.4f} {word} {comparison.a}, p = {comparison.p_holm:.2g}"
    return tag("span", f"{mark}{stars}", class_=f"stars {word}", title=said)


def _measured(
    found: Interval | None, comparison: Comparison | None = None, best: bool = False
) -> Cell:
    if found is None:
        return Cell(None, None)
    stars = None if comparison is None else _stars(comparison)
    bounds = tag("small", f"{found.low:.3f}{DASH}{found.high:.3f}")
    return Cell(join(stars, tag("b", f"{found.mean:.3f}"), " ", bounds), found.mean, best)


def _number(value: float | None, best: bool = False) -> Cell:
    if not finite(value) or value is None:
        return Cell(None, None)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return Cell(f"{value:,.{digits}f}", value, best)


def _scaled(value: float | None, size: float) -> float | None:
    return None if value is None else value / size


def _best(values: Sequence[float | None], *, most: bool) -> int | None:
    there = [i for i, value in enumerate(values) if value is not None and finite(value)]
    if len(there) < 2:
        return None
    return (max if most else min)(there, key=lambda i: values[i] or 0.0)


def _sortable(name: str, *, text: bool = False) -> Html:
    return tag("th", tag("button", name, type="button"), scope="col", data_text=text)


def _cell(cell: Cell) -> Html:
    shown = tag("span", DASH, class_="none") if cell.shown is None else cell.shown
    value = None if cell.value is None else repr(float(cell.value))
    text = cell.shown if value is None and isinstance(cell.shown, str) else None
    return tag(
        "td",
        shown,
        data_v=value if value is not None else text,
        class_="best" if cell.best else None,
    )
