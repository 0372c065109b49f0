"""How many questions do not say which passage they are about.

A question that is asked of several passages, word for word, with an answer in each, cannot tell
one of them from the others: whoever looks for its evidence among them has to guess. Counted over
`train` and `dev` together, for the questions of `dev`.
`python -m ragib.eval.bench.ambiguity --data DIR`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ragib.compressor.training.records import Record, read_records
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.retention import judged

HEADER = ("source", "questions", "asked of several passages, %", "passages a question")


def count(asked: Sequence[Record], known: Iterable[Record]) -> list[dict[str, Any]]:
    """Count for each source of `asked` of how many gold passages of `known` its questions are."""
    passages: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in known:
        passages[_key(record)].update(p.id for p in record.passages if p.gold)
    found: dict[str, list[int]] = defaultdict(list)
    for record in asked:
        found[record.source].append(len(passages[_key(record)]))
    return [
        {
            "source": source,
            "questions": len(numbers),
            "several": sum(n > 1 for n in numbers) / len(numbers),
            "passages": sum(numbers) / len(numbers),
        }
        for source, numbers in found.items()
    ]


def _key(record: Record) -> tuple[str, str]:
    return record.source, " ".join(record.question.casefold().split())


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, page: Path | None) -> None:
    """Count over `train.jsonl.gz` and `dev.jsonl.gz` in the folder DATA."""
    asked = [r for r in read_records(data / "dev.jsonl.gz") if judged(r)]
    rows = count(asked, [*asked, *read_records(data / "train.jsonl.gz")])
    table = markdown_table(
        HEADER,
        (
            (r["source"], r["questions"], f"{100 * r['several']:.1f}", f"{r['passages']:.1f}")
            for r in rows
        ),
    )
    report("ambiguity", table, {"rows": rows}, page)


if __name__ == "__main__":
    run(main)
