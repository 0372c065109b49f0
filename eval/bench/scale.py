"""Build and search a corpus of some 170,000 passages, and watch the memory.

    python -m ragib.eval.bench.scale --data FOLDER [--page docs/benchmarks.md]

FOLDER is a BEIR folder. Rows with `dup_of` repeat another document's text and are left out, of
the judgements as well. The sparse index covers all documents; dense and multi-vector cover the
judged ones and as many others as make up `--encoded`, in one build with a sparse index beside them.
Every build runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ragib.config import KINDS, EncoderConfig, IndexConfig, Using
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.searching import MEASURES, quality, query_times, search_all
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.indexes.index import Index
from ragib.types import Document


def distinct(data: JudgedSet) -> Iterator[Document]:
    """Read the documents whose text is not another's."""
    return (document for document in data.documents() if not document.metadata.get("dup_of"))


def subset(data: JudgedSet, size: int) -> Iterator[Document]:
    """Read the judged documents, and the first of the others, `size` in all."""
    judged = {document for grades in data.qrels.values() for document in grades}
    wanted = (document for document in distinct(data) if document.id in judged)
    others = (document for document in distinct(data) if document.id not in judged)
    count = 0
    for document in wanted:
        count += 1
        yield document
    yield from islice(others, max(0, size - count))


def build(data: JudgedSet, config: IndexConfig, size: int | None, out: Path) -> dict[str, float]:
    """Build an index; say how many seconds it took and how many bytes of memory at most."""
    documents = distinct(data) if size is None else subset(data, size)
    started = time.perf_counter()
    Index.build(documents, out, config).close()
    return {
        "build_s": time.perf_counter() - started,
        "build_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def measure(data: JudgedSet, using: Using, folder: Path) -> dict[str, Any]:
    """Open an index, search all questions, and say how long it took and how good it was."""
    started = time.perf_counter()
    index = Index.open(folder)
    opened = time.perf_counter() - started
    info = index.info()
    return {
        "kind": using,
        "documents": info["documents"],
        "passages": info["passages"],
        "bytes": info["bytes"]["total" if using == "hybrid" else using],
        "open_s": opened,
        **query_times(index, list(data.queries.values()), using),
        **quality(data, search_all(index, data, using)),
    }


def without_repeats(data: JudgedSet) -> JudgedSet:
    """Drop the judgements of documents that repeat another's text."""
    repeats = {document.id for document in data.documents() if document.metadata.get("dup_of")}
    qrels = {
        query: {document: grade for document, grade in grades.items() if document not in repeats}
        for query, grades in data.qrels.items()
    }
    return replace(data, qrels=qrels)


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['kind']}, {row['documents']:,} documents",
        f"{row['passages']:,}",
        f"{row['build_s']:.0f}",
        f"{row['build_peak_bytes'] / 2**30:.2f}",
        f"{row['bytes'] / 1e6:.1f}",
        f"{row['open_s'] * 1000:.0f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p95_ms']:.1f}",
        *(f"{row[name]:.4f}" for name in MEASURES),
    ]


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--encoded", default=20_000, show_default=True, help="documents encoded")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, encoded: int, dtype: Any, page: Path | None) -> None:  # noqa: ANN401
    """Measure building and searching the corpus in the folder DATA."""
    judged = without_repeats(read_beir(data, "test"))
    encoder = EncoderConfig(dtype=dtype)
    builds: list[tuple[IndexConfig, int | None, tuple[Using, ...]]] = [
        (IndexConfig(kinds=("sparse",)), None, ("sparse",)),
        (IndexConfig(encoder=encoder), encoded, (*KINDS, "hybrid")),
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (config, size, systems) in enumerate(builds):
            out = Path(folder) / str(number)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                built = pool.apply(build, (judged, config, size, out))
            rows += [measure(judged, using, out) | built for using in systems]
            click.echo(f"{' + '.join(config.kinds)} done", err=True)
    header = [
        "index",
        "passages",
        "build s",
        "build peak GiB",
        "MB",
        "open ms",
        "p50 ms",
        "p95 ms",
        *MEASURES,
    ]
    report("scale", markdown_table(header, map(_cells, rows)), {"rows": rows}, page)


if __name__ == "__main__":
    run(main)
