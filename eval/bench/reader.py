"""The built-in reader and the calibration of the trained compressor.

Answers from the whole context and from the kept evidence at each share; coverage of the conformal
thresholds; how well the best score tells answerable questions from others.
`python -m ragib.eval.bench.reader --data DIR`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ragib.compressor.answers import find_answers
from ragib.compressor.calibration import conformal_threshold
from ragib.compressor.ib import IBCompressor, Scored, load_ib
from ragib.compressor.selection import ScoredSentence, select
from ragib.compressor.training.calibrate import labels
from ragib.compressor.training.records import Record, read_records
from ragib.config import CompressorConfig
from ragib.eval.answers import em_squad2, f1_squad2
from ragib.eval.bench.common import markdown_table, report
from ragib.eval.bench.compressor import question_of
from ragib.text import batched
from ragib.types import Evidence

SHARES = (0.05, 0.10, 0.15, 0.20, 0.30, 1.0)
RISKS = (0.05, 0.10, 0.20)
_AT_ONCE = 32


def scored(compressor: IBCompressor, records: Sequence[Record]) -> list[Scored]:
    """Score the sentences of all records."""
    found: list[Scored] = []
    for batch in batched(records, _AT_ONCE):
        found += compressor.score([question_of(record) for record in batch])
        click.echo(f"scored {len(found)} of {len(records)}", err=True)
    return found


def answers(
    compressor: IBCompressor, records: Sequence[Record], scores: Sequence[Scored], share: float
) -> list[str]:
    """Answer answerable records from the evidence at a share of the words; 1 is all of it."""
    asked = []
    titles: dict[str, str] = {}
    for record, row in zip(records, scores, strict=True):
        question = question_of(record)
        titles |= {p.id: p.title for p in question.passages}
        if share == 1.0:
            texts = [p for p in question.passages if p.text.strip()]
            kept = tuple(Evidence(p.id, 0, len(p.text), p.text, 1.0) for p in texts)
        else:
            pieces = [
                ScoredSentence(sentence, float(score))
                for sentence, score in zip(row.sentences, row.scores, strict=True)
            ]
            kept = select(question, pieces, keep=share).evidence
        asked.append((record.question, kept))
    return [
        found.text if found is not None else ""
        for batch in batched(asked, _AT_ONCE)
        for found in find_answers(compressor.model, batch, titles)
    ]


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


def auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the probability that a positive scores above a negative, ties counting half."""
    above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(above)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="default: shipped")
@click.option("--limit", type=click.IntRange(min=20), help="questions, answerable and not")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, weights: Path | None, limit: int | None, page: Path | None) -> None:
    """Measure on dev.jsonl.gz in the folder DATA."""
    records = list(read_records(data / "dev.jsonl.gz"))
    if limit is not None and limit < len(records):
        records = random.Random(0).sample(records, limit)  # noqa: S311
    compressor = load_ib(weights, CompressorConfig(name="ib", keep=1.0))
    scores = scored(compressor, records)
    best = np.array([s.scores.max() if len(s.scores) else 0.0 for s in scores])
    able = np.array([r.answerable for r in records])
    with_answer = [r for r in records if r.answerable]
    with_scores = [s for r, s in zip(records, scores, strict=True) if r.answerable]
    rows: list[list[Any]] = []
    for share in SHARES:
        given = answers(compressor, with_answer, with_scores, share)
        pairs = list(zip(given, with_answer, strict=True))
        em = np.mean([em_squad2(text, r.answers) for text, r in pairs])
        f1 = np.mean([f1_squad2(text, r.answers) for text, r in pairs])
        rows.append([f"{share:.0%}", f"{100 * em:.1f}", f"{100 * f1:.1f}"])
    lowest = lowest_gold(with_answer, with_scores)
    covered = {risk: coverage(lowest, risk) for risk in RISKS if len(lowest) * risk > 2}
    area = auroc(best[able], best[~able]) if 0 < able.sum() < len(able) else float("nan")
    text = "\n\n".join(
        [
            f"The built-in reader on {len(with_answer)} answerable questions of dev.",
            markdown_table(["words kept", "em/squad2", "f1/squad2"], rows),
            f"Coverage of the conformal thresholds, from one half of dev, on the other "
            f"({len(lowest) - len(lowest) // 2} questions):",
            markdown_table(
                ["risk", "coverage"],
                [[f"{risk:.2f}", f"{share:.3f}"] for risk, (share, _) in covered.items()],
            ),
            f"AUROC of the best score, answerable ({int(able.sum())}) against not "
            f"({int((~able).sum())}): {area:.3f}",
        ]
    )
    results = {"answers": rows, "coverage": covered, "auroc": area, "questions": len(records)}
    report("reader", text, results, page)


if __name__ == "__main__":
    main()
