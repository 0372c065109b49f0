"""`ragib eval`: a grid of pipelines over a data set, into a run directory."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ragib.cli.common import (
    PATH,
    echo_json,
    example,
    json_option,
    note,
    printable,
    progress_bar,
)
from ragib.cli.tables import show_table

if TYPE_CHECKING:
    from ragib.eval.results import PipelineResult, RunResults


@click.command(
    "eval",
    epilog=example(
        "ragib eval configs/grid-quick.yaml --data dev.jsonl.gz --out runs/quick --limit 200",
        "ragib eval configs/grid.yaml --data nfcorpus/ --split dev --out runs/nf",
    ),
)
@click.argument("grid_file", metavar="GRID.yaml", type=PATH)
@click.option(
    "--data",
    "data_path",
    required=True,
    metavar="SET",
    help="QA records or FlashRAG (JSONL), a BEIR or TREC folder, or hub:NAME.",
)
@click.option("--out", required=True, metavar="RUNDIR", type=PATH, help="Where the run goes.")
@click.option("--corpus", metavar="PATH", type=PATH, help="Documents, if the set brings none.")
@click.option("--split", metavar="NAME", help="Part of the set: the name of a qrels file.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), help="Take N questions, always the same."
)
@click.option(
    "--cache", metavar="DIR", type=PATH, help="Where work is kept. Default: RUNDIR/cache."
)
@json_option
def evaluate(
    grid_file: Path,
    data_path: str,
    out: Path,
    corpus: Path | None,
    split: str | None,
    limit: int | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Evaluate a grid of pipelines on a data set.

    GRID.yaml holds a base configuration and lists of values for some of its keys; see
    configs/grid.yaml. RUNDIR gets results.json, a TREC run and a JSONL of questions a pipeline.
    Finished work is kept in the cache: the same command resumes, and a run with one changed key
    that is given the same --cache redoes only what the key reaches.
    """
    from ragib.eval.grid import read_grid
    from ragib.eval.harness import run_grid
    from ragib.eval.read import read_eval_set

    grid = read_grid(grid_file)
    data = read_eval_set(data_path, corpus=corpus, split=split, limit=limit)
    for line in data.notes:
        note(printable(line))
    command = shlex.join(["ragib", *sys.argv[1:]])
    with progress_bar() as progress:
        results = run_grid(grid, data, out, cache=cache, command=command, progress=progress)
    for pipeline in results.pipelines:
        for error in pipeline.errors[:1]:
            more = len(pipeline.errors)
            note(f"{pipeline.name}: {more} questions failed, such as {printable(error)}")
    if as_json:
        echo_json(results)
    else:
        _show(results)
    note(f"written to {out}; next: ragib report {out} -o report.html")


def _show(results: RunResults) -> None:
    measures = [
        name
        for name in ("f1/squad2", "em/squad2", "has-answer/dpr", "nDCG@10", "R@100", "kept")
        if any(name in pipeline.measures for pipeline in results.pipelines)
    ]
    rows = [
        (
            pipeline.name,
            *(_mean(pipeline, name) for name in measures),
            f"{pipeline.latency['total']['p95']:.0f}" if "total" in pipeline.latency else "",
            f"{pipeline.cost['index_bytes'] / 1e6:.1f}",
            str(len(pipeline.errors)),
        )
        for pipeline in results.pipelines
    ]
    show_table(("pipeline", *measures, "p95 ms", "index MB", "errors"), rows)


def _mean(pipeline: PipelineResult, name: str) -> str:
    found = pipeline.measures.get(name)
    return f"{found.mean:.3f}" if found is not None else ""
