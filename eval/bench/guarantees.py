"""What the calibration of the trained compressor promises, and whether it holds.

Coverage: a threshold taken from one half of `dev` keeps all gold evidence of a question of the
other half with probability at least 1 - risk; over many random halves. Abstention: how well the
highest probability of any sentence tells answerable questions from others, and how the share of
wrong answers falls as the less sure ones are withheld.
`python -m ragib.eval.bench.guarantees --data DIR`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from ragib.compressor.calibration import conformal_threshold
from ragib.compressor.ib import IBCompressor, Scored, load_ib
from ragib.compressor.selection import select
from ragib.compressor.training.calibrate import labels
from ragib.compressor.training.records import Record, read_records
from ragib.config import CompressorConfig
from ragib.eval.abstention import aurc, auroc, risk_coverage
from ragib.eval.answers import em_squad2
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.compressor import question_of
from ragib.eval.bench.reader import read_all
from ragib.eval.evalset import draw
from ragib.text import batched

RISKS = (0.05, 0.10, 0.20)
COVERAGES = (0.25, 0.50, 0.75, 1.00)
KEEP = 0.2
_SPLITS = 200
_AT_ONCE = 32


def scored(compressor: IBCompressor, records: Sequence[Record]) -> list[Scored]:
    """Score the sentences of all records."""
    found: list[Scored] = []
    for batch in batched(records, _AT_ONCE):
        found += compressor.score([question_of(record) for record in batch])
        click.echo(f"scored {len(found)} of {len(records)}", err=True)
    return found


def lowest_gold(records: Sequence[Record], scores: Sequence[Scored]) -> list[float]:
    """Return the lowest score of a gold sentence of each record that has one."""
    marked = [(labels(r, s), s.scores) for r, s in zip(records, scores, strict=True)]
    return [float(values[gold].min()) for gold, values in marked if gold.any()]


def coverage(lowest: Sequence[float], risk: float, seed: int = 0) -> tuple[float, int]:
    """Take a threshold from one half, and return its coverage of the other half, and its size."""
    drawn = list(lowest)
    random.Random(seed).shuffle(drawn)  # noqa: S311
    half = len(drawn) // 2
    threshold = conformal_threshold(sorted(drawn[:half]), risk)
    rest = drawn[half:]
    return sum(value >= threshold for value in rest) / len(rest), len(rest)


def coverages(lowest: Sequence[float], risk: float) -> tuple[float, float, float, float]:
    """Cover halves drawn at random, many times.

    Returns the mean coverage, the bounds between which that of one half is to be expected (95 %,
    binomial, both halves being samples), and the share of the halves at the lower one or above.
    """
    found = [coverage(lowest, risk, seed) for seed in range(_SPLITS)]
    size = found[0][1]
    # Both halves are samples: the threshold varies as the coverage does.
    spread = 1.96 * math.sqrt(2 * risk * (1 - risk) / size)
    low, high = 1 - risk - spread, 1 - risk + spread
    return (
        float(np.mean([share for share, _ in found])),
        low,
        high,
        float(np.mean([share >= low for share, _ in found])),
    )


def measure_calibration(
    records: Sequence[Record], compressor: IBCompressor
) -> tuple[str, dict[str, object]]:
    """Measure all of it; returns the text and the raw figures."""
    scores = scored(compressor, records)
    surest = np.array([s.scores.max() if len(s.scores) else 0.0 for s in scores])
    able = np.array([r.answerable for r in records])
    hard = np.array([r.source == "squad2_dev" for r in records])
    lowest = lowest_gold(records, scores)
    covered = {risk: coverages(lowest, risk) for risk in RISKS}
    kept = [
        select(question_of(record), row.pieces(), keep=KEEP).evidence
        for record, row in zip(records, scores, strict=True)
    ]
    answers = read_all(compressor.model, records, kept)
    right = np.array(
        [
            record.answerable and found is not None and em_squad2(found.text, record.answers)
            for record, found in zip(records, answers, strict=True)
        ],
        dtype=np.float64,
    )
    sure = np.array([found.score if found else -np.inf for found in answers])
    curve = dict.fromkeys(COVERAGES, 1.0)
    for share, risk in reversed(risk_coverage(right, sure)):
        curve |= {c: risk for c in COVERAGES if share >= c}
    areas = {"all": auroc(surest[able], surest[~able])}
    areas["SQuAD 2.0"] = auroc(surest[able & hard], surest[~able & hard])
    reader = {"all": auroc(sure[able], sure[~able])}
    reader["SQuAD 2.0"] = auroc(sure[able & hard], sure[~able & hard])
    text = "\n\n".join(
        [
            f"Thresholds from one half of the {len(lowest)} questions with evidence, tried on the "
            f"other; {_SPLITS} random halves.",
            markdown_table(
                [
                    "risk",
                    "promised",
                    "mean coverage",
                    "expected of one half",
                    "halves not below it",
                ],
                [
                    [
                        f"{risk:.2f}",
                        f"{1 - risk:.2f}",
                        f"{mean:.3f}",
                        f"{low:.3f} to {high:.3f}",
                        f"{100 * share:.0f} %",
                    ]
                    for risk, (mean, low, high, share) in covered.items()
                ],
            ),
            f"Telling the {int(able.sum())} answerable questions from the {int((~able).sum())} "
            "others, which all are of SQuAD 2.0 (AUROC):",
            markdown_table(
                ["by", "all of dev", "SQuAD 2.0 alone"],
                [
                    ["highest probability of a sentence", *(f"{a:.3f}" for a in areas.values())],
                    ["score of the reader's answer", *(f"{a:.3f}" for a in reader.values())],
                ],
            ),
            "Share of wrong answers among the surest (any answer to an unanswerable question is); "
            f"area under the curve {aurc(right, sure):.3f}:",
            markdown_table(
                ["answered", "wrong"],
                [[f"{100 * c:.0f} %", f"{100 * risk:.1f} %"] for c, risk in curve.items()],
            ),
        ]
    )
    figures = {"coverage": covered, "auroc": areas, "auroc of the reader": reader, "risk": curve}
    return text, figures


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="default: shipped")
@click.option("--limit", type=click.IntRange(min=100), help="questions, answerable and not")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, weights: Path | None, limit: int | None, page: Path | None) -> None:
    """Measure on dev.jsonl.gz in the folder DATA."""
    records = draw(list(read_records(data / "dev.jsonl.gz")), limit)
    text, figures = measure_calibration(
        records, load_ib(weights, CompressorConfig(name="ib", keep=KEEP))
    )
    report("guarantees", text, {**figures, "questions": len(records)}, page)


if __name__ == "__main__":
    run(main)
