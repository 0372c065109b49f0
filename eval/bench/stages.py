"""What each stage of the training adds, and what the second reading and removing repeats add.

From weights after the warm start, each stage goes on for the same number of updates on the same
data at the same rate; the control is more of the warm start. Then, of the shipped weights, each
part of their use is left out in turn.
`python -m ragib.eval.bench.stages --data DIR --train FILE --start WEIGHTS --out DIR`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import click

from ragib.compressor.ib import IBCompressor, load_ib
from ragib.compressor.selection import select
from ragib.compressor.training.loop import Schedule
from ragib.compressor.training.run import Plan, train_compressor
from ragib.config import CompressorConfig
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.compressor import HEADER, SETS, Make, cells, load_set, measure, named
from ragib.types import Compressed, Question

RATE = 3e-5


def plans(start: Path, steps: int) -> dict[str, Plan]:
    """Return how each arm goes on from the warm start."""
    nothing = Schedule(steps=0, rate=RATE, warmup=0.1, decay=0.9)
    base = Plan(nothing, start=(start,), cloze=0, joined=0, calibration_questions=300)
    return {
        "+ more of the same": replace(base, schedule=replace(nothing, steps=steps)),
        "+ silver labels": replace(base, silver_steps=steps),
        "+ bottleneck": replace(base, bottleneck_steps=steps),
    }


@dataclass(frozen=True, slots=True)
class WithRepeats:
    """A compressor that keeps sentences that repeat one another."""

    compressor: IBCompressor
    name: ClassVar[str] = "ib"

    def compress(self, questions: Sequence[Question]) -> list[Compressed]:
        """Score as ever, and select with repeats."""
        return [
            select(question, scored.pieces(), keep=self.compressor.keep, repeats=True)
            for question, scored in zip(questions, self.compressor.score(questions), strict=True)
        ]


def uses(weights: Path | None) -> dict[str, Make]:
    """Return the shipped weights' ways of use, each without one part."""

    def loaded(change: Callable[[IBCompressor], IBCompressor | WithRepeats]) -> Make:
        return lambda keep: change(load_ib(weights, CompressorConfig(name="ib", keep=keep)))

    return {
        "as shipped": loaded(lambda ib: ib),
        "- second reading": loaded(
            lambda ib: replace(ib, calibration=replace(ib.calibration, second=None))
        ),
        "- removal of repeats": loaded(WithRepeats),
    }


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--train", type=click.Path(exists=True, path_type=Path), required=True, multiple=True)
@click.option("--source", "sources", multiple=True, help="Train on records of this source only.")
@click.option("--start", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="default: shipped")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="weights of the arms")
@click.option("--steps", type=click.IntRange(min=1), default=150, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="questions a set")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path,
    train: tuple[Path, ...],
    sources: tuple[str, ...],
    start: Path,
    weights: Path | None,
    out: Path,
    steps: int,
    limit: int | None,
    page: Path | None,
) -> None:
    """Go on from the weights in START on the records of TRAIN, and measure on the sets in DATA."""
    arms: dict[str, Make] = {"warm start": named(str(start))}
    for name, plan in plans(start, steps).items():
        folder = out / name.strip("+ ").replace(" ", "-")
        if not (folder / "model.safetensors").exists():
            train_compressor(train, folder, replace(plan, sources=sources))
        arms[name] = named(str(folder))
        click.echo(f"trained: {name}", err=True)
    arms |= uses(weights)
    rows = []
    for set_name in SETS:
        records = load_set(data, set_name, limit)
        rows += [measure(name, make, set_name, records) for name, make in arms.items()]
    text = (
        f"Each stage of the training for {steps} updates from the warm start; then the shipped "
        "weights, whole and without one part. Share of questions (%) whose kept evidence still "
        f"holds the answer.\n\n{markdown_table(HEADER, map(cells, rows))}"
    )
    report("stages", text, {"steps": steps, "rows": rows}, page)


if __name__ == "__main__":
    run(main)
