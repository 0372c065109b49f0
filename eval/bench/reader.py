"""The built-in reader: what it answers from everything, and from what each compressor keeps.

The reader and its weights are the same in every row, so the rows differ in the evidence alone.
`python -m ragib.eval.bench.reader --data DIR`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ragib.compressor.answers import FoundAnswer, find_answers
from ragib.compressor.ib import load_ib
from ragib.compressor.model import EvidenceModel
from ragib.compressor.registry import BASELINES
from ragib.compressor.training.records import Record, read_records
from ragib.config import CompressorConfig
from ragib.eval.answers import em_squad2, f1_squad2
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.compressor import SHARES, at_shares, named
from ragib.eval.evalset import draw
from ragib.text import batched
from ragib.types import Evidence

HEADER = (
    "evidence",
    "words kept",
    "em/squad2",
    "f1/squad2",
    "all: em/squad2",
    "all: f1/squad2",
    "right only with all",
    "right only with this",
)
_AT_ONCE = 64


def whole(record: Record) -> tuple[Evidence, ...]:
    """Return the passages of a record as evidence, uncompressed."""
    texts = (p for p in record.passages if p.text.strip())
    return tuple(Evidence(p.id, 0, len(p.text), p.text, 1.0) for p in texts)


def read_all(
    model: EvidenceModel, records: Sequence[Record], evidence: Sequence[tuple[Evidence, ...]]
) -> list[FoundAnswer | None]:
    """Answer each record from its evidence."""
    found: list[FoundAnswer | None] = []
    for batch in batched(zip(records, evidence, strict=True), _AT_ONCE):
        titles = {p.id: p.title for record, _ in batch for p in record.passages}
        found += find_answers(model, [(r.question, kept) for r, kept in batch], titles)
    return found


def row(
    name: str,
    kept: float,
    records: Sequence[Record],
    answers: Sequence[FoundAnswer | None],
    of_all: Sequence[FoundAnswer | None],
) -> dict[str, Any]:
    """Score the answers; `of_all` are those from everything.

    Answerable questions are scored by the best span, however unsure; all questions with the
    answers that the reader stands by.
    """
    forced = [found.text if found else "" for found in answers]
    stood_by = [found.text if found and found.score >= 0 else "" for found in answers]
    from_all = [found.text if found else "" for found in of_all]
    able = [i for i, record in enumerate(records) if record.answerable]
    right = {i: em_squad2(forced[i], records[i].answers) for i in able}
    truth = [record.answers if record.answerable else () for record in records]
    pairs = list(zip(stood_by, truth, strict=True))
    right_of_all = {i: em_squad2(from_all[i], records[i].answers) for i in able}
    return {
        "evidence": name,
        "words kept": kept,
        "em/squad2": sum(right.values()) / len(able),
        "f1/squad2": sum(f1_squad2(forced[i], records[i].answers) for i in able) / len(able),
        "all: em/squad2": sum(em_squad2(*pair) for pair in pairs) / len(pairs),
        "all: f1/squad2": sum(f1_squad2(*pair) for pair in pairs) / len(pairs),
        "right only with all": sum(right_of_all[i] > right[i] for i in able) / len(able),
        "right only with this": sum(right_of_all[i] < right[i] for i in able) / len(able),
    }


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="default: shipped")
@click.option("--limit", type=click.IntRange(min=20), help="questions, answerable and not")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, weights: Path | None, limit: int | None, page: Path | None) -> None:
    """Measure on dev.jsonl.gz in the folder DATA."""
    records = draw(list(read_records(data / "dev.jsonl.gz")), limit)
    model = load_ib(weights, CompressorConfig(name="ib", keep=1.0)).model
    of_all = read_all(model, records, [whole(record) for record in records])
    rows = [row("everything", 1.0, records, of_all, of_all)]
    for name in [*(n for n in BASELINES if n != "none"), str(weights or "ib")]:
        by_share, _ = at_shares(named(name), records, SHARES)
        for share, results in by_share.items():
            answers = read_all(model, records, [c.evidence for c in results])
            label = "ib" if name == str(weights) else name
            rows.append(row(label, share, records, answers, of_all))
    shown = [[r["evidence"], *(f"{100 * r[key]:.1f}" for key in HEADER[1:])] for r in rows]
    able = sum(record.answerable for record in records)
    text = (
        f"{able} answerable questions of dev, answered by the best span; and all {len(records)}, "
        "on which the reader may abstain. In per cent; right is em/squad2 on the answerable.\n\n"
        f"{markdown_table(HEADER, shown)}"
    )
    report("reader", text, {"rows": rows}, page)


if __name__ == "__main__":
    run(main)
