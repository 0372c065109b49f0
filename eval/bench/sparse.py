"""BM25 over some 170,000 passages: our search against bm25s and rank-bm25, and adding to it.

    python -m ragib.eval.bench.sparse --data FOLDER [--page docs/benchmarks.md]

FOLDER is a BEIR folder. All ways get the same questions as text, cut them into the same terms, and
return the numbers and scores of ten passages, in one thread; ragib in both its ways, in NumPy and
in the loops that a process compiles after a few thousand questions. A time is the thread's own CPU
time, the least of several rounds in which all ways take turns; ratios are of means over the
questions that both ways were asked. The first search of a process, which has to get ready, is
timed by itself, and so is the first addition ("cold"). Adding is timed from documents, through
cutting them into passages and writing a durable generation, to the first result of a search in the
new one; rebuilding with bm25s from terms in memory to an index in memory, with what it compiles.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import click
import numpy as np

from ragib.config import IndexConfig, SparseConfig
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.scale import distinct
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.extras import require
from ragib.indexes.base import Queries
from ragib.indexes.index import Index
from ragib.indexes.snapshot import Snapshot
from ragib.indexes.sparse import SparseSearcher
from ragib.indexes.terms import terms

K = 10
ADDED = 1000
OURS, NUMBA, REBUILD = "ragib, compiled", "bm25s, numba", "bm25s, rebuilt"
_SLOW = {"rank-bm25"}
"""Asked a few questions only, and never in a batch."""
_CONFIG = SparseConfig()

Search = Callable[[Sequence[str]], Any]
"""Takes questions; returns `(q, K)` scores, best first."""


def tokens_of(index: Index) -> list[list[str]]:
    """Return the terms of every passage, as the index has them."""
    return [terms(f"{p.title}\n{p.text}", _CONFIG.language) for p in index.passages()]


def ways(folder: Path) -> dict[str, Search]:
    """Open the index, and index its terms with the peers."""
    library = require("bm25s", "this benchmark")
    rank = require("rank_bm25", "this benchmark")
    with Index.open(folder) as index:
        tokens = tokens_of(index)
    made = {OURS: _ours(folder, 0), "ragib, NumPy": _ours(folder, math.inf)}
    for backend in ("numba", "numpy"):
        engine = library.BM25(k1=_CONFIG.k1, b=_CONFIG.b, backend=backend)
        engine.index(tokens, show_progress=False)
        made[f"bm25s, {backend}"] = _bm25s(engine)
    okapi = rank.BM25Okapi(tokens, k1=_CONFIG.k1, b=_CONFIG.b)
    numbers = np.arange(len(tokens))
    made["rank-bm25"] = lambda asked: [
        okapi.get_top_n(terms(text, _CONFIG.language), numbers, K) for text in asked
    ]
    return made


def _ours(folder: Path, patience: float) -> Search:
    searcher = cast(SparseSearcher, Snapshot(folder).searcher("sparse"))

    def search(asked: Sequence[str]) -> Any:  # noqa: ANN401
        searcher.lists.patience = patience
        return searcher.search(Queries(asked), K, None).scores

    return search


def _bm25s(engine: Any) -> Search:  # noqa: ANN401
    def search(asked: Sequence[str]) -> Any:  # noqa: ANN401
        cut = [terms(text, _CONFIG.language) for text in asked]
        return engine.retrieve(cut, k=K, show_progress=False).scores

    return search


def answerable(questions: Sequence[str], count: int) -> list[str]:
    """Return the first questions that have a term: bm25s cannot be asked the others."""
    asked = (text for text in questions if terms(text, _CONFIG.language))
    return list(islice(asked, count))


def time_queries(
    folder: Path, questions: Sequence[str], slow: int, rounds: int
) -> list[dict[str, Any]]:
    """Time every way question by question and in one batch; returns a row for each."""
    found = ways(folder)
    first = {name: _timed(way, questions[:1]) for name, way in found.items()}
    single: dict[str, list[list[float]]] = {name: [] for name in found}
    batch: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, way in found.items():
            asked = questions[: slow if name in _SLOW else None]
            single[name].append([_timed(way, [question]) for question in asked])
            if name not in _SLOW:
                batch[name].append(_timed(way, questions) / len(questions))
    best = {name: np.array(min(times, key=sum)) for name, times in single.items()}
    agreed = np.allclose(found[OURS](questions), found[NUMBA](questions), rtol=1e-4)
    return [
        {
            "way": name,
            "questions": len(times),
            "first_ms": 1e3 * first[name],
            "mean_ms": 1e3 * float(times.mean()),
            "p95_ms": 1e3 * float(np.percentile(times, 95)),
            "over_ours": float(times.mean() / best[OURS][: len(times)].mean()),
            "batch_ms": 1e3 * min(batch[name]) if batch[name] else None,
            "batch_over_ours": min(batch[name]) / min(batch[OURS]) if batch[name] else None,
            "same_scores": bool(agreed) if name == OURS else None,
        }
        for name, times in best.items()
    ]


def _timed(way: Search, asked: Sequence[str]) -> float:
    started = time.thread_time()
    way(asked)
    return time.thread_time() - started


def time_adding(data: JudgedSet, folder: Path, question: str) -> list[dict[str, float]]:
    """Add `ADDED` documents, and as many again; each until a search of the index has found them."""
    documents = distinct(data)
    rows = []
    index = Index.open(folder)
    for _ in ("cold", "hot"):
        batch = list(islice(documents, ADDED))
        started = time.perf_counter()
        index.add(batch)
        added = time.perf_counter()
        index.search(question, k=K, using="sparse")
        rows.append({"add_s": added - started, "first_search_s": time.perf_counter() - added})
    index.close()
    return rows


def time_rebuild(folder: Path) -> list[float]:
    """Index all passages with bm25s; the second time everything it uses is compiled."""
    library = require("bm25s", "this benchmark")
    with Index.open(folder) as index:
        tokens = tokens_of(index)
    engine = library.BM25(k1=_CONFIG.k1, b=_CONFIG.b, backend="numba")
    seconds = []
    for _ in ("cold", "hot"):
        started = time.perf_counter()
        engine.index(tokens, show_progress=False)
        seconds.append(time.perf_counter() - started)
    return seconds


def build(data: JudgedSet, documents: int | None, out: Path) -> dict[str, float]:
    """Build the index of all documents but those that will be added."""
    started = time.perf_counter()
    some = islice(distinct(data), 2 * ADDED, documents)
    with Index.build(some, out, IndexConfig(kinds=("sparse",))) as index:
        return {"passages": len(index), "build_s": time.perf_counter() - started}


def show(result: dict[str, Any]) -> str:
    """Lay the result out as two Markdown tables."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    queries = [
        [
            row["way"],
            row["questions"],
            f"{row['first_ms']:.1f}",
            f"{row['mean_ms']:.3f}",
            f"{row['p95_ms']:.3f}",
            f"{row['over_ours']:.2f}",
            number(row["batch_ms"], ".3f"),
            number(row["batch_over_ours"], ".2f"),
        ]
        for row in result["queries"]
    ]
    header = ["way", "questions", "first, ms", "mean, ms", "p95, ms", "this / ragib"]
    header += ["in a batch, ms", "this / ragib"]
    changes = [
        [
            when,
            f"{added['add_s']:.3f}",
            f"{added['first_search_s']:.3f}",
            f"{rebuilt:.2f}",
            f"{rebuilt / (added['add_s'] + added['first_search_s']):.1f}",
        ]
        for when, added, rebuilt in zip(
            ("cold", "hot"), result["adding"], result["rebuild_s"], strict=True
        )
    ]
    agreed = "the same" if result["queries"][0]["same_scores"] else "NOT the same"
    more = [f"{ADDED:,} documents more", "add, s", "first search, s", f"{REBUILD}, s"]
    more += ["rebuilt / added and searched"]
    return (
        f"{result['passages']:,} passages, built in {result['build_s']:.0f} s; scores of {OURS} "
        f"and {NUMBA}: {agreed}.\n\n{markdown_table(header, queries)}\n\n"
        f"{markdown_table(more, changes)}"
    )


def apart(function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--documents", type=int, help="documents taken; all if not given")
@click.option("--questions", default=500, show_default=True)
@click.option("--slow", default=5, show_default=True, help="questions for rank-bm25")
@click.option("--rounds", default=3, show_default=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path, documents: int | None, questions: int, slow: int, rounds: int, page: Path | None
) -> None:
    """Measure BM25 on the corpus in the folder DATA."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the comparison is of one thread
    judged = read_beir(data, "test")
    asked = answerable(list(judged.queries.values()), questions)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        result = apart(build, judged, documents, folder)
        result["queries"] = apart(time_queries, folder, asked, slow, rounds)
        click.echo("built and searched", err=True)
        result["adding"] = apart(time_adding, judged, folder, asked[0])
        result["rebuild_s"] = apart(time_rebuild, folder)
    report("sparse", show(result), result, page)


if __name__ == "__main__":
    run(main)
