"""Dense search over 100,000 vectors: every storage against a flat faiss index, one thread.

    python -m ragib.eval.bench.dense --data FOLDER/corpus/ottqa [--page docs/benchmarks.md]

Encoding 100,000 passages takes half an hour, so vectors are made of those of `--real` passages of
the BEIR folder (see `ragib.eval.bench.dense_vectors`); questions are real. The peer is faiss's
`IndexFlatIP` on the same vectors. Times are the thread's own CPU time for one question, from its
vector to ten rows with exact scores; all ways take turns, twenty questions each, so that none
finds the caches full of another's data, and of a question's three rounds the least counts, so that
other work on the machine does not. Recall is against double precision. Memory is what is read
whole; of the originals beside it, only the rows of candidates are.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ragib.config import DenseConfig, EncoderConfig
from ragib.encoders import Encoded, load_encoder
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.dense_vectors import Matrix, Vectors, encode, mix
from ragib.eval.datasets import read_beir
from ragib.extras import require
from ragib.indexes.base import Batch, Mask, Queries
from ragib.indexes.choice import Storage
from ragib.indexes.dense import DenseEngine
from ragib.indexes.dense_search import DenseSearcher
from ragib.text import batched
from ragib.types import Passage

Times = NDArray[np.float64]
Rows = NDArray[np.int64]
Search = Callable[[int], Rows]

K, ROUNDS = 10, 3
STORAGES: tuple[Storage, ...] = ("flat", "sq8", "hnsw", "rabitq")
ALLOWED = (1.0, 0.5, 0.02)
"""Shares of the passages that a search may return."""

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_TOKENS = 64
_TURN = 20


def truth(vectors: Vectors, allowed: Mask) -> Rows:
    """Return the best rows of every query, `(q, K)`."""
    scores = vectors.queries.astype(np.float64) @ vectors.passages.T.astype(np.float64)
    scores[:, ~allowed] = -np.inf
    order: Rows = np.argsort(-scores, axis=1, kind="stable")
    return order[:, :K]


def build(storage: Storage, vectors: Matrix, folder: Path) -> tuple[DenseEngine, float]:
    """Write an index of one segment into `folder`; returns the seconds it took as well."""
    engine = DenseEngine(DenseConfig(storage=storage))
    part = folder.with_name(f"{folder.name}-part")
    part.mkdir()
    folder.mkdir()
    engine.encode(Batch([Passage("", "", "")] * len(vectors), Encoded(vectors, None)), part)
    started = time.thread_time()
    engine.merge([part], [None], folder)
    return engine, time.thread_time() - started


def ours(searcher: DenseSearcher, queries: Matrix, allowed: Mask | None) -> Search:
    """Return a search of one query by its number."""

    def search(number: int) -> Rows:
        asked = Queries([""], Encoded(queries[number : number + 1], None))
        row: Rows = searcher.search(asked, K, allowed).rows[0]
        return row

    return search


def peer(vectors: Vectors, allowed: Mask | None) -> Search:
    """Return the search of faiss's flat index."""
    faiss = require("faiss", "this benchmark")
    index = faiss.IndexFlatIP(vectors.passages.shape[1])
    index.add(vectors.passages)
    bits = None if allowed is None else np.packbits(allowed, bitorder="little")
    sel = None if bits is None else faiss.IDSelectorBitmap(bits)

    def search(number: int) -> Rows:
        query = vectors.queries[number : number + 1]
        _, rows = index.search(query, K, params=faiss.SearchParameters(sel=sel))
        row: Rows = rows[0]
        return row

    return search


def time_all(ways: dict[str, Search], queries: int) -> dict[str, tuple[Times, Rows]]:
    """Ask every query of all ways, a turn of each, and all of it again.

    Returns
    -------
    dict
        Of each way the seconds of every query, the least of all rounds, and the rows it found.
    """
    seconds: dict[str, Times] = {name: np.full(queries, np.inf) for name in ways}
    rows: dict[str, Rows] = {name: np.full((queries, K), -1, np.int64) for name in ways}
    for _ in range(ROUNDS):
        for turn in batched(range(queries), _TURN):
            for name, search in ways.items():
                search(turn[0])
                for number in turn:
                    started = time.thread_time()
                    found = search(number)
                    taken = time.thread_time() - started
                    seconds[name][number] = min(seconds[name][number], taken)
                    rows[name][number] = found
    return {name: (seconds[name], rows[name]) for name in ways}


def compare(vectors: Vectors, seed: int, storages: Sequence[Storage] = STORAGES) -> dict[str, Any]:
    """Build and ask every storage; returns what is printed."""
    require("faiss", "this benchmark").omp_set_num_threads(1)
    rng = np.random.default_rng(seed)
    count, dim = vectors.passages.shape
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        built: dict[str, tuple[DenseEngine, float]] = {
            name: build(name, vectors.passages, Path(scratch) / name) for name in storages
        }
        sizes: dict[str, float] = {name: _size(Path(scratch) / name) / count for name in storages}
        for share in ALLOWED:
            allowed: Mask = np.less(rng.random((count,)), share)
            mask = None if share == 1 else allowed
            ways = {"faiss flat": peer(vectors, mask)}
            for name, (engine, _) in built.items():
                searcher = engine.open([Path(scratch) / name], np.ones(count, np.bool_))
                ways[name] = ours(searcher, vectors.queries, mask)
            best = truth(vectors, allowed)
            found = time_all(ways, len(vectors.queries))
            base = float(np.median(found["faiss flat"][0]))
            for name, (seconds, got) in found.items():
                rows.append(
                    {
                        "way": name,
                        "allowed": share,
                        "min_ms": 1e3 * float(seconds.min()),
                        "median_ms": 1e3 * float(np.median(seconds)),
                        "queries_a_second": 1 / float(np.median(seconds)),
                        "over_faiss_flat": base / float(np.median(seconds)),
                        "recall@10": _recall(got, best),
                        "bytes_a_vector": sizes.get(name, 4.0 * dim),
                        "build_s": built[name][1] if name in built else None,
                    }
                )
            click.echo(f"measured: {share:.0%} allowed", err=True)
    return {
        "data": f"{count:,} x {dim}: {vectors.real:,} real vectors and mixtures of them, "
        f"seed {seed}; {len(vectors.queries)} real questions, 1 thread",
        "rows": rows,
    }


def _size(folder: Path) -> float:
    """Return the bytes that a search of the folder reads whole."""
    small = [path.stat().st_size for path in folder.iterdir() if path.name != "vectors.npy"]
    return sum(small) or (folder / "vectors.npy").stat().st_size


def _recall(found: Rows, best: Rows) -> float:
    pairs: Iterable[Any] = zip(found.tolist(), best.tolist(), strict=True)
    return sum(len(set(got) & set(right)) for got, right in pairs) / best.size


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    rows = [
        [
            row["way"] if row["allowed"] == 1 else f"{row['way']}, {row['allowed']:.0%} allowed",
            f"{row['min_ms']:.2f}",
            f"{row['median_ms']:.2f}",
            f"{row['queries_a_second']:.0f}",
            f"{row['over_faiss_flat']:.1f}",
            f"{row['recall@10']:.3f}",
            f"{row['bytes_a_vector']:.0f}",
            "" if row["build_s"] is None else f"{row['build_s']:.1f}",
        ]
        for row in result["rows"]
    ]
    header = (
        "storage",
        "ms, least",
        "ms, median",
        "queries/s",
        "over faiss flat",
        "recall@10",
        "bytes a vector in memory",
        "build s",
    )
    return f"{result['data']}.\n\n{markdown_table(header, rows)}"


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--passages", type=click.IntRange(min=300), default=100_000, show_default=True)
@click.option("--real", type=click.IntRange(min=3), default=5000, show_default=True)
@click.option("--queries", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--encoder", default="embedded", show_default=True, help="package, folder or name")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path,
    passages: int,
    real: int,
    queries: int,
    encoder: str,
    seed: int,
    page: Path | None,
) -> None:
    """Measure dense search over vectors made of the passages in the folder DATA."""
    model = load_encoder(EncoderConfig(model=encoder, max_tokens=_TOKENS))
    found, asked = encode(read_beir(data, "test"), real, queries, model)
    vectors = Vectors(mix(found, passages, np.random.default_rng(seed)), asked, len(found))
    # Libraries read these when they are loaded, so they are set for a process of its own.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(compare, (vectors, seed))
    report("dense", show(result), result, page)


if __name__ == "__main__":
    run(main)
