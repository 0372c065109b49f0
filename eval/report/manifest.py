"""The sections in words: what came out, and what the run was made with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ragib.eval.report.cast import Cast, index_bytes, mean_of, total_ms
from ragib.eval.report.html import DASH, Html, counted, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.report.scatter import front
from ragib.eval.report.table import MB, scrolling
from ragib.eval.report.verdict import significance


def summary(run: RunData, cast: Cast) -> Html:
    """Say in a few lines which pipeline is best, and what a cheaper one loses."""
    pipelines = run.results.pipelines
    if not pipelines:
        return tag("p", "The run has no pipelines: there is nothing to compare.")
    scored = {i: found for i, one in enumerate(pipelines) if (found := mean_of(one, cast.quality))}
    if not scored:
        return tag("p", f"{len(pipelines)} pipelines, none of which has a measure.")
    best = max(scored, key=lambda i: scored[i].mean)
    lines = [_line("Best", cast.labels[best], _figures(run, cast, best))]
    for what, cost in (
        ("Fastest", [total_ms(one, "p95") for one in pipelines]),
        ("Smallest", [index_bytes(one) for one in pipelines]),
    ):
        there = [(value, i) for i, value in enumerate(cost) if value is not None and i in scored]
        chosen = front([(value, scored[i].mean) for value, i in there])
        if len(there) > 1 and chosen:
            i = there[chosen[0]][1]
            lines.append(_line(what, cast.labels[i], _figures(run, cast, i)))
    first = pipelines[0].name
    told = [
        one
        for one in run.results.comparisons
        if one.a == first and one.measure == cast.quality and significance(one)
    ]
    above = sum(one.difference > 0 for one in told)
    text = f"{above} significantly above it, {len(told) - above} below (p < .05 after Holm)."
    lines.append(_line("Baseline", cast.labels[0], text))
    return tag("ul", lines, class_="summary")


def manifest(run: RunData) -> Html:
    """Lay out everything the run says of itself: command, date, versions, hardware, hashes."""
    rows = []
    for key, value in _flat(run.results.manifest):
        shown = tag("pre", value) if "\n" in value else tag("code", value)
        rows.append(tag("tr", tag("th", key, scope="row"), tag("td", shown, dir="auto")))
    if not rows:
        return tag("p", "The run has no manifest.")
    caption = tag("caption", "What the run was made with.")
    return scrolling(tag("table", caption, tag("tbody", rows), class_="manifest"), "Manifest")


def headline(run: RunData) -> Html:
    """Say on what, when and by which command the run was made, as far as it says so."""
    whole = run.results.manifest
    told = {key: value for key, value in whole.items() if isinstance(value, str)}
    if isinstance(data := whole.get("data"), Mapping) and isinstance(name := data.get("name"), str):
        told["data"] = name
    queries = len({id for rows in run.rows for id in rows})
    counts = [counted(len(run.results.pipelines), "pipeline", "pipelines")]
    if queries:
        counts.append(counted(queries, "query", "queries"))
    facts = [*counts, *(told[key] for key in ("data", "date") if key in told)]
    command = tag("p", tag("code", told["command"])) if "command" in told else None
    return join(tag("p", [[tag("span", fact, class_="fact"), " "] for fact in facts]), command)


def _line(what: str, name: str, figures: str) -> Html:
    return tag("li", tag("b", what), ": ", tag("bdi", name), f" {DASH} {figures}")


def _figures(run: RunData, cast: Cast, i: int) -> str:
    one = run.results.pipelines[i]
    parts = []
    if found := mean_of(one, cast.quality):
        parts.append(f"{cast.quality} {found.mean:.3f} ({found.low:.3f}{DASH}{found.high:.3f})")
    if (p95 := total_ms(one, "p95")) is not None:
        parts.append(f"p95 {p95:,.3g} ms" if p95 < 1000 else f"p95 {p95:,.0f} ms")
    if (size := index_bytes(one)) is not None:
        parts.append(f"{size / MB:,.1f} MB of index")
    return ", ".join(parts)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{key}", text
