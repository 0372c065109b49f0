"""Every figure of a run, in tables that are folded away."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ragib.eval.registry import MEASURES, SET_MEASURES
from ragib.eval.report.cast import mean_of, measures
from ragib.eval.report.html import Html, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.report.table import MB, NOTHING, Cell, number, table
from ragib.eval.report.verdict import measured, stars
from ragib.eval.results import Interval

_WAYS = {"higher": "", "lower": "; lower is better", "neither": "; neither way is better"}


def listing(run: RunData) -> Html:
    """Lay out every table for which the run has figures."""
    folded = (tag("details", tag("summary", name), content) for name, content in _tables(run))
    return join(*folded)


def _tables(run: RunData) -> Iterator[tuple[str, Html]]:
    pipelines = run.results.pipelines
    yield "Every measure", _measures(run)
    yield "Latency and cost", _costs(run)
    if any(one.load for one in pipelines):
        yield "Load", _load(run)
    if run.results.ladder:
        yield "Ladder of index sizes", _ladder(run)
    if run.results.comparisons:
        yield "Paired comparisons", _comparisons(run)
    if any(one.settings for one in pipelines):
        yield "Settings", _settings(run)


def _measures(run: RunData) -> Html:
    header = measures(run.results)
    pipelines = run.results.pipelines
    columns = [[measured(mean_of(one, measure)) for one in pipelines] for measure in header]
    known = [(name, MEASURES.get(name) or SET_MEASURES.get(name)) for name in header]
    described = [
        [tag("dt", name), tag("dd", f"{one.about}{_WAYS[one.better]}")]
        for name, one in known
        if one is not None
    ]
    laid_out = table("Means with 95 % intervals.", _names(run), header, columns)
    return join(laid_out, tag("dl", described, class_="measures") if described else None)


def _costs(run: RunData) -> Html:
    pipelines = run.results.pipelines
    header, columns = [], []
    pairs = dict.fromkeys(
        (stage, which) for one in pipelines for stage in one.latency for which in one.latency[stage]
    )
    for stage, which in pairs:
        header.append(f"{stage} {which}, ms")
        columns.append([number(one.latency.get(stage, {}).get(which)) for one in pipelines])
    for name in dict.fromkeys(name for one in pipelines for name in one.cost):
        size = MB if name.endswith("_bytes") else 1.0
        header.append(f"{name.removesuffix('_bytes')}, MB" if size == MB else name)
        columns.append([number(one.cost.get(name), size=size) for one in pipelines])
    caption = "Latency of one query at a time, after warm-up, and cost."
    return table(caption, _names(run), header, columns)


def _load(run: RunData) -> Html:
    rows = [(one.name, row) for one in run.results.pipelines for row in one.load]
    header = list(dict.fromkeys(key for _, row in rows for key in row))
    columns = [[number(row.get(key)) for _, row in rows] for key in header]
    caption = "Queries that arrive at random. Rates and goodput are a second, times milliseconds."
    return table(caption, [name for name, _ in rows], header, columns)


def _ladder(run: RunData) -> Html:
    rungs = run.results.ladder
    header = ["passages", "measure", "mean", "index, MB"]
    columns = [
        [Cell(f"{rung.passages:,}", rung.passages) for rung in rungs],
        [Cell(rung.measure) for rung in rungs],
        [measured(Interval(rung.mean, rung.low, rung.high, 0)) for rung in rungs],
        [number(rung.index_bytes, size=MB) for rung in rungs],
    ]
    caption = "The same queries over more and more passages."
    return table(caption, [rung.kind for rung in rungs], header, columns, first="index")


def _comparisons(run: RunData) -> Html:
    found = run.results.comparisons
    header = ["against", "measure", "difference", "low", "high", "p", "p, Holm"]
    columns = [
        [Cell(one.a) for one in found],
        [Cell(one.measure) for one in found],
        [Cell(f"{one.difference:+.4f}", one.difference) for one in found],
        [Cell(f"{one.low:+.4f}", one.low) for one in found],
        [Cell(f"{one.high:+.4f}", one.high) for one in found],
        [Cell(f"{one.p:.4f}", one.p) for one in found],
        [Cell([stars(one), f"{one.p_holm:.4f}"], one.p_holm) for one in found],
    ]
    caption = "Paired differences. Bounds are of the 95 % interval of the difference."
    return table(caption, [one.b for one in found], header, columns)


def _settings(run: RunData) -> Html:
    pipelines = run.results.pipelines
    header = list(dict.fromkeys(key for one in pipelines for key in one.settings))
    columns = [
        [_setting(one.settings[key]) if key in one.settings else NOTHING for one in pipelines]
        for key in header
    ]
    return table("The keys of the grid.", _names(run), header, columns)


def _setting(value: object) -> Cell:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(shown, value)
    return Cell(shown)


def _names(run: RunData) -> list[str]:
    return [one.name for one in run.results.pipelines]
