"""`ragib compare`: whether one run is significantly worse than another."""

from __future__ import annotations

from pathlib import Path

import click

from ragib.cli.common import PATH, echo_json, example, json_option, note, printable
from ragib.cli.tables import show_table

WORSE = 3
"""Exit code when the second run is significantly worse."""


@click.command(
    epilog=example(
        "ragib compare runs/main runs/change",
        "ragib compare runs/main runs/change --measure f1/squad2 --measure nDCG@10 --json",
    )
)
@click.argument("first", metavar="RUNDIR_A", type=PATH)
@click.argument("second", metavar="RUNDIR_B", type=PATH)
@click.option(
    "--measure",
    "measures",
    metavar="NAME",
    multiple=True,
    help="Compare this one; may be repeated. Default: f1, em, has-answer, nDCG@10, R@100.",
)
@json_option
@click.pass_context
def compare(
    ctx: click.Context, first: Path, second: Path, measures: tuple[str, ...], as_json: bool
) -> None:
    """Compare two runs of `ragib eval`, question by question.

    Pipelines of the same name are compared, or the only one of each run, over the questions that
    both have: paired differences with 95 % intervals, and p-values that are corrected over the
    whole table. Exit code 3 says that RUNDIR_B is significantly worse in any.
    """
    from ragib.eval.compare import compare_runs, is_worse

    found = compare_runs(first, second, measures)
    for line in found.notes:
        note(printable(line))
    if as_json:
        echo_json({"comparisons": found.comparisons, "worse": found.worse})
    else:
        show_table(
            ("pipeline", "measure", "B - A", "95 % interval", "p", "p, Holm", ""),
            [
                (
                    row.a if row.a == row.b else f"{row.a} -> {row.b}",
                    row.measure,
                    f"{row.difference:+.4f}",
                    f"{row.low:+.4f} to {row.high:+.4f}",
                    f"{row.p:.4f}",
                    f"{row.p_holm:.4f}",
                    "worse" if is_worse(row) else "",
                )
                for row in found.comparisons
            ],
            left=2,
        )
    if found.worse:
        note(f"{second} is significantly worse in {len(found.worse)} of {len(found.comparisons)}")
        ctx.exit(WORSE)
