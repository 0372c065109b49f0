"""Storage forms of token vectors on real text: bytes an original token, recall, time a question.

    python -m ragib.eval.bench.multivector --data FOLDER [--page docs/benchmarks.md]

FOLDER is a BEIR folder; its first documents and questions are encoded once. Bytes are those of
all files of the kind, divided by the tokens that were encoded, before pooling. Recall compares the
best ten passages with those of the pooled vectors in single precision. Candidate mode scores the
best passages of the sparse index alone; what those leave out lowers its recall.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ragib.config import IndexConfig, MultiVectorConfig, SparseConfig
from ragib.corpus import chunk
from ragib.encoders import Encoded, Encoder, TokenVectors, load_encoder
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.maxsim import FORMS, K, best_of
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.extras import require
from ragib.indexes.base import Batch, Queries
from ragib.indexes.multivector import MultiVectorEngine
from ragib.indexes.pooling import pool_batch
from ragib.indexes.projection import fit_projection, project
from ragib.indexes.sparse import SparseEngine
from ragib.text import batched
from ragib.types import Passage

CANDIDATES = 200
_BATCH = 64
_SAMPLE = 1000


def encode(
    data: JudgedSet, encoder: Encoder, documents: int
) -> tuple[list[Passage], list[TokenVectors]]:
    """Encode the passages of the first `documents`."""
    first = islice((d for d in data.documents() if not d.metadata.get("dup_of")), documents)
    config = IndexConfig().chunk
    passages = [p for d in first for p in chunk(d, config, encoder.count_tokens)]
    tokens: list[TokenVectors] = []
    for batch in batched(passages, _BATCH):
        texts = [(passage.title, passage.text) for passage in batch]
        tokens += encoder.passages(texts, dense=False, tokens=True).tokens or []
        click.echo(f"encoded {len(tokens):,} of {len(passages):,} passages", err=True)
    return passages, tokens


def exact(
    pooled: Sequence[NDArray[np.float32]], queries: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.int64]]:
    """Return the best ten passages of each query by the vectors as they are."""
    held = np.array([number for number, vectors in enumerate(pooled) if len(vectors)])
    flat = np.concatenate(pooled)
    starts = np.concatenate([[0], np.cumsum([len(pooled[i]) for i in held])[:-1]])
    return [
        held[best_of(np.maximum.reduceat(flat @ query.T, starts).sum(axis=1))] for query in queries
    ]


def measure(
    search: Callable[[int], NDArray[np.int64]], truth: Sequence[NDArray[np.int64]]
) -> dict[str, float]:
    """Ask every question, and say how long one takes and how much of `truth` it finds."""
    search(0)
    seconds, shared = [], 0
    for number, expected in enumerate(truth):
        started = time.process_time()
        found = search(number)
        seconds.append(time.process_time() - started)
        shared += len(np.intersect1d(found[found >= 0], expected))
    p50 = float(np.median(seconds))
    return {"recall@10": shared / (K * len(truth)), "p50_ms": 1000 * p50}


def compare(data: JudgedSet, encoder: Encoder, documents: int, questions: int) -> dict[str, Any]:
    """Measure every storage form on the same vectors; returns what is printed."""
    passages, tokens = encode(data, encoder, documents)
    texts = list(islice(data.queries.values(), questions))
    asked = encoder.queries(texts, dense=False, tokens=True)
    assert asked.tokens is not None
    settings = MultiVectorConfig()
    projection = None
    if not encoder.trained_projection and encoder.token_dim > settings.dim:
        step = -(-len(tokens) // _SAMPLE)
        sample = np.concatenate([text.vectors for text in tokens[::step]])
        projection = fit_projection(sample, settings.dim)
    # Projected once, so that every form and the exact scores start from the same vectors.
    vectors = [project(text.vectors, projection, "passage") for text in tokens]
    ready = [TokenVectors(v, t.spans) for v, t in zip(vectors, tokens, strict=True)]
    lines = [project(text.vectors, projection, "query") for text in asked.tokens]
    pooled = [entry[0] for entry in pool_batch(vectors, settings.pool_factor)]
    truth = exact(pooled, lines)
    single = [
        Queries([text], Encoded(None, [TokenVectors(line, one.spans)]))
        for text, line, one in zip(texts, lines, asked.tokens, strict=True)
    ]
    count = sum(len(text.spans) for text in tokens)
    everything = np.ones(len(passages), np.bool_)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        terms = Path(scratch) / "sparse"
        terms.mkdir()
        sparse = SparseEngine(SparseConfig())
        sparse.encode(Batch(passages), terms)
        proposing = sparse.open([terms], everything)
        for name, (storage, rescore) in FORMS.items():
            folder = Path(scratch) / name
            folder.mkdir()
            config = MultiVectorConfig(storage=storage, rescore=rescore)
            engine = MultiVectorEngine(config, None)
            engine.encode(Batch(passages, Encoded(None, ready)), folder)
            size = sum(file.stat().st_size for file in folder.iterdir()) / count
            searcher = engine.open([folder], everything)

            def scan(number: int, searcher: Any = searcher) -> NDArray[np.int64]:  # noqa: ANN401
                rows: NDArray[np.int64] = searcher.search(single[number], K, None).rows[0]
                return rows

            def among(number: int, searcher: Any = searcher) -> NDArray[np.int64]:  # noqa: ANN401
                proposed = proposing.search(single[number], CANDIDATES, None).rows
                rows: NDArray[np.int64] = searcher.search_among(single[number], K, proposed).rows[0]
                return rows

            rows.append({"form": name, "bytes_a_token": size, **measure(scan, truth)})
            if name == "int8 scan":
                found = measure(among, truth)
                rows.append({"form": f"{name} of {CANDIDATES} by terms", **found})
    return {
        "passages": len(passages),
        "tokens": count,
        "vectors": sum(map(len, pooled)),
        "questions": len(texts),
        "rows": rows,
    }


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    rows = [
        [
            row["form"],
            f"{row['bytes_a_token']:.1f}" if "bytes_a_token" in row else "",
            f"{row['recall@10']:.3f}",
            f"{row['p50_ms']:.1f}",
        ]
        for row in result["rows"]
    ]
    about = (
        f"{result['passages']:,} passages of {result['tokens']:,} tokens, pooled to "
        f"{result['vectors']:,} vectors; {result['questions']} questions, 1 thread, CPU time"
    )
    header = ("form", "bytes a token", f"recall@{K}", "p50 ms")
    return f"{about}\n\n{markdown_table(header, rows)}"


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--documents", default=2000, show_default=True, help="documents encoded")
@click.option("--questions", default=200, show_default=True, help="questions asked")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, documents: int, questions: int, page: Path | None) -> None:
    """Measure the storage forms on the corpus in the folder DATA."""
    require("torch", "this benchmark").set_num_threads(1)
    encoder = load_encoder(IndexConfig().encoder)
    result = compare(read_beir(data, "test"), encoder, documents, questions)
    report("multivector", show(result), result, page)


if __name__ == "__main__":
    run(main)
