"""Tables for the pages out of a run of `ragib eval`, so that no number there is typed.

`python -m ragib.eval.bench.grid RUNDIR --name grid --page docs/benchmarks.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ragib.eval.bench.common import markdown_table, run, write_section
from ragib.eval.results import PipelineResult, RunResults
from ragib.eval.rundir import load_results

MEASURES = ("f1/squad2", "em/squad2", "has-answer/dpr", "nDCG@10", "R@100", "kept")
_MB = 1e6


def pipelines(chosen: Sequence[PipelineResult]) -> str:
    """Lay out pipelines: measures with intervals, times, bytes."""
    shown = [m for m in MEASURES if any(m in p.measures for p in chosen)]
    header = ["pipeline", *shown, "p50 ms", "p95 ms", "index MB"]
    rows = [
        [
            p.name,
            *(_measured(p, measure) for measure in shown),
            *(_number(p.latency.get("total", {}), at) for at in ("p50", "p95")),
            _number({k: v / _MB for k, v in p.cost.items()}, "index_bytes"),
        ]
        for p in chosen
    ]
    return markdown_table(header, rows)


def brief(chosen: Sequence[PipelineResult]) -> str:
    """Lay out pipelines for a page that has little room: the quality, and what it costs."""
    measure = _quality(chosen)
    rows = [
        [
            p.name,
            f"{p.measures[measure].mean:.3f}",
            f"{100 * p.measures['kept'].mean:.0f}",
            _number(p.latency.get("total", {}), "p95"),
            _number({k: v / _MB for k, v in p.cost.items()}, "index_bytes"),
        ]
        for p in chosen
    ]
    return markdown_table(["pipeline", measure, "% of words read", "p95 ms", "index MB"], rows)


def best(results: RunResults) -> list[PipelineResult]:
    """Return the pipelines worth choosing, the quickest first.

    No other is at least as good in the first of `MEASURES` that all have, in time (p95) and in
    index bytes, and better in one of the three.
    """
    measure = _quality(results.pipelines)
    points = [
        (-p.measures[measure].mean, p.latency["total"]["p95"], p.cost["index_bytes"])
        for p in results.pipelines
    ]
    front = [
        (point[1], pipeline)
        for point, pipeline in zip(points, results.pipelines, strict=True)
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in points
        )
    ]
    return [pipeline for _, pipeline in sorted(front, key=lambda pair: pair[0])]


def ladder(results: RunResults) -> str:
    """Lay out the ladder: a row for each kind of index, a column for each size."""
    sizes = sorted({rung.passages for rung in results.ladder})
    kinds = list(dict.fromkeys(rung.kind for rung in results.ladder))
    found = {(rung.kind, rung.passages): rung for rung in results.ladder}
    rows = []
    for kind in kinds:
        rungs = [found.get((kind, size)) for size in sizes]
        cells = [f"{r.mean:.3f} ({r.low:.3f} to {r.high:.3f})" if r else "" for r in rungs]
        rows.append([kind, *cells])
    measure = results.ladder[0].measure
    return markdown_table([measure, *(f"{size:,} passages" for size in sizes)], rows)


def section(results: RunResults) -> str:
    """Lay out the whole section: how it was run, then its tables."""
    manifest: Mapping[str, Any] = results.manifest
    lines = [f"- {key}: `{manifest[key]}`" for key in ("date", "command") if key in manifest]
    parts = ["\n".join(lines)]
    if len(results.pipelines) > 1:
        parts.append(pipelines(results.pipelines))
    if results.ladder:
        parts.append(ladder(results))
    return "\n\n".join(parts)


def _quality(chosen: Sequence[PipelineResult]) -> str:
    return next(m for m in MEASURES if all(m in p.measures for p in chosen))


def _measured(pipeline: PipelineResult, measure: str) -> str:
    found = pipeline.measures.get(measure)
    return "" if found is None else f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def _number(values: Mapping[str, float], key: str) -> str:
    return f"{values[key]:.1f}" if key in values else ""


@click.command()
@click.argument("rundir", type=click.Path(exists=True, path_type=Path))
@click.option("--name", required=True, help="section of the page")
@click.option("--page", type=click.Path(exists=True, path_type=Path), required=True)
@click.option(
    "--readme",
    type=click.Path(exists=True, path_type=Path),
    help="page for the pipelines that no other beats in quality, time and size",
)
def main(rundir: Path, name: str, page: Path, readme: Path | None) -> None:
    """Write the tables of the run in RUNDIR into a section of PAGE."""
    results = load_results(rundir)
    text = section(results)
    print(text)
    write_section(page, name, text)
    if readme is not None:
        write_section(readme, name, brief(best(results)))


if __name__ == "__main__":
    run(main)
