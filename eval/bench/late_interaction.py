"""Pooling inside training and after it: nDCG@10 of four projections of the same token vectors.

- `training-free`: the subspace that an index fits to its own passages.
- `trained, pooled afterwards`: a head trained by the contrast of unpooled passages.
- `pooled in training`: the same, but each update pools its passages by a factor drawn from those
  below, as an index of that factor would.
- `pooled in training, margin-MSE`: with the margins of the compressor's relevance head in place
  of the contrast.

`python -m ragib.eval.bench.late_interaction --data DIR --out DIR`; heads that are in `--out` are
not trained again. Every text of a set is encoded once, whatever the projection and factor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from ragib.compressor.registry import WEIGHTS
from ragib.compressor.training.head_fit import HeadPlan
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.token_head import train_head
from ragib.config import EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.corpus import BadRecords
from ragib.encoders import Encoder, load_encoder
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.objectives import SOURCES
from ragib.eval.bench.searching import quality
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.eval.encodings import RememberingEncoder
from ragib.eval.measures import document_scores
from ragib.extras import require
from ragib.indexes.index import Index
from ragib.indexes.token_head import NAME

SETS = {"nfcorpus": "dev", "scifact": "train", "cranfield": "test"}
FACTORS = (1, 2, 3, 6)
FREE = "training-free"
HITS = 50
"""Hits a query: many more than ten, as a long document has several passages."""

Row = Mapping[str, Any]


def arms(plan: HeadPlan, teacher: Path) -> dict[str, HeadPlan]:
    """Return how the head of each arm is trained."""
    return {
        "trained, pooled afterwards": replace(plan, factors=(1.0,)),
        "pooled in training": plan,
        "pooled in training, margin-MSE": replace(plan, teacher=teacher),
    }


def train_arms(
    train: Path, out: Path, wanted: Mapping[str, HeadPlan], progress: Progress
) -> dict[str, Path]:
    """Train the heads that are not there yet; returns the folder of each."""
    heads = {}
    for name, plan in wanted.items():
        folder = out / name.replace(",", "").replace(" ", "-")
        if not (folder / NAME).exists():
            train_head([train], folder, plan, progress, states=out / "states")
            click.echo(f"trained: {name}", err=True)
        heads[name] = folder
    return heads


def measure_set(data: JudgedSet, encoder: Encoder, heads: Mapping[str, str]) -> Iterator[Row]:
    """Build and search an index of every projection and pool factor over one set."""
    bad = BadRecords()
    documents = list(data.documents(bad))
    if bad.count:
        click.echo(f"{data.name}: {bad.count} records left out, as {bad.first[0]}", err=True)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "encoded"
        kept.mkdir()
        remembering = RememberingEncoder(encoder, kept)
        for name, projection in heads.items():
            for factor in FACTORS:
                config = IndexConfig(
                    kinds=("multivector",),
                    multivector=MultiVectorConfig(projection=projection, pool_factor=factor),
                )
                folder = Path(scratch) / "index"
                built = Index.build(documents, folder, config, encoder=remembering, overwrite=True)
                with built as index:
                    hits = index.search_batch(
                        list(data.queries.values()), HITS, using="multivector"
                    )
                found = dict(zip(data.queries, map(document_scores, hits), strict=True))
                value = quality(data, found)["nDCG@10"]
                yield {"set": data.name, "projection": name, "factor": factor, "nDCG@10": value}
                click.echo(f"{data.name}: {name}, pool factor {factor}", err=True)


def table(rows: Sequence[Row]) -> str:
    """Lay out nDCG@10 by projection and factor, each as a share of the same one unpooled."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    names = list(dict.fromkeys(row["projection"] for row in rows))
    value = {(r["set"], r["projection"], r["factor"]): r["nDCG@10"] for r in rows}
    lines = []
    for name in names:
        for factor in FACTORS:
            found = [value[data, name, factor] for data in sets]
            whole = [value[data, name, 1] for data in sets]
            share = float(np.mean([a / b for a, b in zip(found, whole, strict=True)]))
            cells = [f"{number:.4f}" for number in (*found, float(np.mean(found)))]
            lines.append([f"{name}: {factor}", *cells, f"{100 * share:.1f} %"])
    return markdown_table(["projection: pool factor", *sets, "mean", "of unpooled"], lines)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="heads of the arms")
@click.option("--set", "names", multiple=True, type=click.Choice(list(SETS)), help="default: all")
@click.option("--questions", type=click.IntRange(min=1), default=3000, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path,
    out: Path,
    names: tuple[str, ...],
    questions: int,
    steps: int,
    dtype: Literal["auto", "float32", "bfloat16"],
    page: Path | None,
) -> None:
    """Train on DATA/qa/train.jsonl.gz and measure on the sets in DATA/ir."""
    require("torch", "this benchmark").set_num_threads(1)
    plan = HeadPlan(
        schedule=replace(HeadPlan().schedule, steps=steps),
        encoder=EncoderConfig(dtype=dtype),
        questions=questions,
        sources=SOURCES,
    )
    heads = train_arms(data / "qa" / "train.jsonl.gz", out, arms(plan, WEIGHTS), _silent)
    projections = {FREE: "svd"} | {name: str(folder) for name, folder in heads.items()}
    encoder = load_encoder(plan.encoder)
    rows: list[Row] = []
    for name in names or SETS:
        rows += measure_set(read_beir(data / "ir" / name, SETS[name]), encoder, projections)
    text = (
        f"{steps} updates of {plan.schedule.batch_size} of {questions} questions, the encoder "
        f"frozen; nDCG@10, and its share of that of the same projection unpooled.\n\n{table(rows)}"
    )
    report("late-interaction", text, {"steps": steps, "rows": rows}, page)


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing: an arm says when it is done."""


if __name__ == "__main__":
    run(main)
