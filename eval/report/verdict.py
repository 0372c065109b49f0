"""The verdict: pipelines by their main measures and costs, and which leave the baseline behind."""

from __future__ import annotations

from collections.abc import Sequence

from ragib.eval.registry import Better
from ragib.eval.report.axis import usable
from ragib.eval.report.cast import (
    amount_read,
    better,
    index_bytes,
    main_measures,
    mean_of,
    read_units,
    total_ms,
)
from ragib.eval.report.html import DASH, Html, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.report.table import MB, NOTHING, Cell, number, table
from ragib.eval.results import Comparison, Interval

LEVELS = (0.05, 0.01, 0.001)
"""Corrected p-values below which a difference gets another star."""

_CAPTION = (
    "Means with 95 % intervals; the best of a column is bold. ▲ and ▼: above and below the "
    "baseline, pipeline 1, with p < .05 *, < .01 **, < .001 *** (paired, Holm-corrected over the "
    "table). A query that failed counts as answered wrongly."
)


def verdict(run: RunData) -> Html:
    """Lay out pipelines by main measures and costs, with stars where they leave the baseline."""
    pipelines = run.results.pipelines
    against = _against_baseline(run)
    header, columns = [], []
    for measure in main_measures(run.results):
        found = [mean_of(one, measure) for one in pipelines]
        best = _best([None if one is None else one.mean for one in found], better(measure))
        header.append(measure)
        columns.append(
            [
                measured(one, against.get((pipelines[i].name, measure)), best)
                for i, one in enumerate(found)
            ]
        )
    sizes = [index_bytes(one) for one in pipelines]
    costs = [
        ("p50, ms", [total_ms(one, "p50") for one in pipelines]),
        ("p95, ms", [total_ms(one, "p95") for one in pipelines]),
        ("index, MB", [None if size is None else size / MB for size in sizes]),
        *(
            (f"{unit} read", [amount_read(rows, key) for rows in run.rows])
            for key, unit in read_units(run)[:1]
        ),
    ]
    for name, values in costs:
        if any(value is not None for value in values):
            header.append(name)
            best = _best(values, "lower")
            columns.append([number(value, best) for value in values])
    header.append("errors")
    columns.append([Cell(f"{len(one.errors):,}", len(one.errors)) for one in pipelines])
    return table(_CAPTION, [one.name for one in pipelines], header, columns, key="verdict")


def measured(
    found: Interval | None, comparison: Comparison | None = None, best: float | None = None
) -> Cell:
    """Show a mean above its interval, with the stars of a comparison; bold if it is the best."""
    if found is None:
        return NOTHING
    shown = None if comparison is None else stars(comparison)
    bounds = tag("small", f"{found.low:.3f}{DASH}{found.high:.3f}")
    return Cell(
        join(shown, tag("b", f"{found.mean:.3f}"), " ", bounds), found.mean, found.mean == best
    )


def stars(comparison: Comparison) -> Html | None:
    """Show which way a significant difference goes, and its stars; `None` if it is not."""
    level = significance(comparison)
    if not level:
        return None
    mark, word = ("▲", "above") if comparison.difference > 0 else ("▼", "below")
    said = f"{comparison.difference:+.4f}, {word} {comparison.a}, p = {comparison.p_holm:.2g}"
    good = {"higher": "▲", "lower": "▼"}.get(better(comparison.measure))
    shade = "" if good is None else " good" if good == mark else " bad"
    return tag("span", f"{mark}{'*' * level}", class_=f"stars{shade}", title=said)


def significance(comparison: Comparison) -> int:
    """Return the number of stars of a corrected p-value, 0 to 3."""
    return sum(comparison.p_holm < level for level in LEVELS)


def _against_baseline(run: RunData) -> dict[tuple[str, str], Comparison]:
    if not run.results.pipelines:
        return {}
    first = run.results.pipelines[0].name
    return {(one.b, one.measure): one for one in run.results.comparisons if one.a == first}


def _best(values: Sequence[float | None], way: Better) -> float | None:
    """Return the best value, if one is better than another."""
    there = [value for value in values if value is not None and usable(value)]
    if way == "neither" or len(set(there)) < 2:
        return None
    return max(there) if way == "higher" else min(there)
