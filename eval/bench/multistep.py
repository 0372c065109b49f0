"""Evidence gathered in several steps against evidence gathered in one, without a language model.

    python -m ragib.eval.bench.multistep --data FILE [--index DIR] [--limit N] [--page PAGE]

FILE holds multi-hop QA records (`multihop_dev.jsonl.gz`). All their passages make one index, sparse
and dense, so the passages of a question have to be found among those of all others. Every row
keeps the same budget of tokens and has the same reader. Measured on the questions that no weights
were trained on (see `halves`); how queries are made was chosen on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from ragib.compressor.ib import IBCompressor, load_ib
from ragib.compressor.training.records import Record, read_records
from ragib.config import CompressorConfig, IndexConfig, RetrieverConfig, StepsConfig
from ragib.errors import InputError
from ragib.eval.answers import em_squad2, f1_squad2
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.halves import measured_on
from ragib.eval.evalset import draw
from ragib.eval.outcome import kept_spans
from ragib.eval.qa import qa_documents
from ragib.eval.remembering import remember
from ragib.eval.retention import evidence_recall
from ragib.eval.statistics import bootstrap_interval, sign_flip_p
from ragib.generators.reader import Reader
from ragib.indexes.index import Index
from ragib.multistep.gather import MultiStep
from ragib.multistep.judge import Judge
from ragib.pipeline import RAG
from ragib.retriever import Retriever
from ragib.types import Answer

NEVER = -1e9
"""A gain that every step is over."""

SYSTEMS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "one step of 5": (5, {}),
    "one step of 10": (10, {}),
    "one step of 15": (15, {}),
    "its parts, 15": (15, {"mode": "decompose"}),
    "two steps of 5": (5, {"mode": "iterate", "max_steps": 2, "min_gain": NEVER}),
    "three steps of 5": (5, {"mode": "iterate", "max_steps": 3, "min_gain": NEVER}),
    "up to three steps of 5": (5, {"mode": "iterate", "max_steps": 3}),
}
"""Passages a step, and what else is set."""

BASELINE = "one step of 15"
MEASURES = ("all gold found", "evidence-recall", "all evidence kept", "em/squad2", "f1/squad2")
COSTS = ("passages", "words", "steps")


def pipelines(index: Index, compressor: IBCompressor) -> dict[str, RAG]:
    """Make all pipelines that are compared; they share compressor and reader."""
    reader = Reader(lambda: (compressor.model, compressor.calibration))
    judge = Judge(compressor.model)
    made = {}
    for name, (k, values) in SYSTEMS.items():
        config = StepsConfig.model_validate({"deadline": 1e6, **values})
        steps = MultiStep(config, judge) if values else None
        made[name] = RAG(Retriever(index, RetrieverConfig(k=k)), compressor, reader, steps)
    return made


def measures(record: Record, answer: Answer) -> dict[str, float]:
    """Measure one answer."""
    found = {hit.passage.doc_id for hit in answer.hits}
    recall = evidence_recall(record, kept_spans(answer))
    return {
        "all gold found": float({p.id for p in record.passages if p.gold} <= found),
        "evidence-recall": recall,
        "all evidence kept": float(recall == 1.0),
        "em/squad2": em_squad2(answer.text, record.answers),
        "f1/squad2": f1_squad2(answer.text, record.answers),
        "passages": len(answer.hits),
        "words": sum(len(piece.text.split()) for piece in answer.evidence),
        "steps": len(answer.steps) or 1,
    }


def measure_all(
    records: Sequence[Record], made: Mapping[str, RAG]
) -> dict[str, list[dict[str, float]]]:
    """Ask every pipeline every question: pipeline -> a row a question."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in made}
    for number, record in enumerate(records, start=1):
        for name, rag in made.items():
            rows[name].append(measures(record, rag.ask(record.question)))
        if number % 50 == 0:
            click.echo(f"{number} of {len(records)} questions", err=True)
    return rows


def column(rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return one measure of all questions, shape (n,)."""
    return np.array([row[name] for row in rows])


def tables(rows: Mapping[str, Sequence[Mapping[str, float]]], sources: Sequence[str]) -> str:
    """Lay out means, the differences from the baseline, and what is found of each source."""
    means = [
        [
            name,
            *(f"{100 * column(of, measure).mean():.1f}" for measure in MEASURES),
            *(f"{column(of, cost).mean():.1f}" for cost in COSTS),
        ]
        for name, of in rows.items()
    ]
    differences = [
        [name, *(_difference(rows[BASELINE], of, measure) for measure in MEASURES)]
        for name, of in rows.items()
        if name != BASELINE
    ]
    kinds = sorted(set(sources))
    places = {kind: [i for i, source in enumerate(sources) if source == kind] for kind in kinds}
    by_source = [
        [name, *(f"{100 * column(of, MEASURES[0])[places[kind]].mean():.1f}" for kind in kinds)]
        for name, of in rows.items()
    ]
    return "\n\n".join(
        [
            markdown_table(["found in", *MEASURES, *COSTS], means),
            f"Against {BASELINE}, paired, in percentage points with 95 % intervals:",
            markdown_table(["found in", *MEASURES], differences),
            "All gold passages found, by source:",
            markdown_table(["found in", *kinds], by_source),
        ]
    )


def _difference(
    first: Sequence[Mapping[str, float]], second: Sequence[Mapping[str, float]], measure: str
) -> str:
    values = column(second, measure) - column(first, measure)
    interval = bootstrap_interval(values)
    p = sign_flip_p(values) if values.any() else 1.0
    bounds = f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
    return f"{100 * interval.mean:+.1f} ({bounds}; p {p:.4f})"


@contextmanager
def index_of(data: Path, folder: Path | None) -> Iterator[Index]:
    """Open the index, or build it of all passages in a folder that goes away again."""
    if folder is not None:
        yield Index.open(folder)
        return
    with TemporaryDirectory() as made:
        click.echo("building the index", err=True)
        config = IndexConfig(kinds=("dense", "sparse"))
        yield Index.build(qa_documents(data), Path(made) / "idx", config)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--index", "folder", type=click.Path(exists=True, path_type=Path), help="made before")
@click.option("--budget", type=click.IntRange(min=1), default=200, help="tokens kept a question")
@click.option("--limit", type=click.IntRange(min=10), help="questions; default: all")
@click.option("--tune", is_flag=True, help="measure on the questions to choose by instead")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path, folder: Path | None, budget: int, limit: int | None, tune: bool, page: Path | None
) -> None:
    """Measure on the multi-hop questions in the file DATA."""
    if tune and page is not None:
        raise InputError("--tune is for choosing; what is published is measured on the others")
    able = [r for r in read_records(data) if r.answerable and measured_on(r) != tune]
    records = draw(able, limit)
    if not records:
        raise InputError(f"{data}: no answerable question to measure on")
    compressor = remember(load_ib(None, CompressorConfig(budget=budget)), {})
    assert isinstance(compressor, IBCompressor)
    with index_of(data, folder) as index:
        rows = measure_all(records, pipelines(index, compressor))
        what = f"{len(index):,} passages, {' and '.join(index.config.kinds)}"
    text = (
        f"{len(records)} questions over {what}; {budget} tokens kept a question. In per cent; "
        f"passages, words and steps are means.\n\n{tables(rows, [r.source for r in records])}"
    )
    means = {
        name: {key: float(column(of, key).mean()) for key in (*MEASURES, *COSTS)}
        for name, of in rows.items()
    }
    report("multistep", text, {"questions": len(records), "budget": budget, "rows": means}, page)


if __name__ == "__main__":
    run(main)
