"""`ragib report`: a run of the evaluation as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import (
    PATH,
    echo_json,
    example,
    json_option,
    note,
    output,
    printable,
    progress_bar,
)


@click.command(epilog=example("ragib report runs/grid -o report.html"))
@click.argument("rundir", metavar="RUNDIR", type=PATH)
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    type=PATH,
    help="Where it goes; report.html in RUNDIR if not given.",
)
@json_option
def report(rundir: Path, out: Path | None, as_json: bool) -> None:
    """Make one HTML file of an evaluation run.

    It opens from disk and loads nothing from anywhere: the verdict with its intervals, trade-offs,
    latency, what differs query by query, and what the run was made with.
    """
    from ragib.eval.report.page import write_report

    target = rundir / "report.html" if out is None else out
    with progress_bar() as progress:
        written = write_report(rundir, target, progress)
    for problem in written.problems:
        note(f"left out: {printable(problem)}")
    if as_json:
        echo_json(written)
    else:
        console = output()
        console.print(
            f"{printable(str(written.report))}: {written.pipelines:,} pipelines, "
            f"{written.queries_shown:,} of {written.queries:,} queries, "
            f"{written.bytes / 1e6:.1f} MB"
        )
