"""The losses of a training as a picture.

`python -m ragib.eval.bench.training_curves WEIGHTS/training.json --out docs/training.svg`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ragib.errors import InputError
from ragib.eval.bench.common import run
from ragib.eval.report.axis import linear_axis
from ragib.eval.report.chart import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MARGIN,
    TOP,
    WIDTH,
    Series,
    frame,
    lines,
    svg,
)
from ragib.eval.report.html import join, tag

LOSSES = {
    "keep": "tokens kept",
    "span": "answer span",
    "relevance": "relevance",
}
SMOOTHED_OVER = 10
"""Entries of the log (of 20 updates each) that make a point."""

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #444 }
.mid { text-anchor: middle } .end { text-anchor: end }
.grid { stroke: #ddd } .axis { stroke: #888 }
.line { fill: none; stroke-width: 2 } .leader { fill: none; stroke-width: 1 }
.c0 path { stroke: #0072b2 } .c1 path { stroke: #d55e00 } .c2 path { stroke: #009e73 }
svg { background: #fff }
"""


def curves(stage: str, log: Sequence[Mapping[str, float]]) -> str:
    """Draw the losses of a stage, smoothed, over its updates."""
    entries = [entry for entry in log if "keep" in entry]
    groups = [entries[i : i + SMOOTHED_OVER] for i in range(0, len(entries), SMOOTHED_OVER)]
    series = [
        Series(
            name,
            [(group[-1]["step"], sum(e[key] for e in group) / len(group)) for group in groups],
            colour,
        )
        for colour, (key, name) in enumerate(LOSSES.items())
    ]
    x = linear_axis([point[0] for one in series for point in one.points], LEFT, WIDTH - MARGIN)
    y = linear_axis([point[1] for one in series for point in one.points], BOTTOM, TOP, zero=True)
    drawn = join(
        tag("style", _STYLE),
        frame(x, y, "updates", "loss, nats"),
        lines(series, x, y, dots=False),
    )
    title = f"Losses of the three heads during {stage}"
    picture = str(svg("training", title, "One line a head, falling.", HEIGHT, drawn))
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--stage", default="warm-start", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(path: Path, stage: str, out: Path) -> None:
    """Draw the losses in FILE, a training.json."""
    logs = json.loads(path.read_text(encoding="utf-8"))["logs"]
    if stage not in logs:
        raise InputError(f"{path}: no stage {stage!r}; there are {', '.join(logs)}")
    out.write_text(curves(stage, logs[stage]), encoding="utf-8")


if __name__ == "__main__":
    run(main)
