"""The half of the multi-hop questions that is trained on, and the half that is measured on.

There is no other set of real questions over several passages to learn from, so half of
`multihop_dev.jsonl.gz` is trained on. A question goes by the hash of its id; all of MuSiQue, whose
evidence is known by the paragraph only, is measured on. Questions to train on that share a gold
passage with one that is measured on are used for neither.
`python -m ragib.eval.bench.halves DATA/multihop_dev.jsonl.gz --out TRAIN.jsonl`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import click

from ragib.compressor.training.records import Record, read_records
from ragib.eval.bench.common import run

_MEASURED_WHOLE = "musique"


def measured_on(record: Record) -> bool:
    """Say whether a multi-hop question is kept for measuring."""
    even = hashlib.sha256(record.id.encode()).digest()[0] % 2 == 0
    return record.source == _MEASURED_WHOLE or not even


def trained_on(records: list[Record]) -> list[Record]:
    """Return the questions to train on: not measured on, and no gold passage in common."""
    seen = {p.id for record in records if measured_on(record) for p in record.passages if p.gold}
    return [
        record
        for record in records
        if not measured_on(record) and not any(p.gold and p.id in seen for p in record.passages)
    ]


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(path: Path, out: Path) -> None:
    """Write the questions of FILE that are trained on."""
    wanted = {record.id for record in trained_on(list(read_records(path)))}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        taken = [line for line in lines if str(json.loads(line)["id"]) in wanted]
    out.write_text("".join(taken), encoding="utf-8")
    print(f"{len(taken)} questions written to {out}")


if __name__ == "__main__":
    run(main)
