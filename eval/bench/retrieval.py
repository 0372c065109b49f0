"""Retrieval quality, index size and query time of every kind of index on judged sets.

    python -m ragib.eval.bench.retrieval --data FOLDER [--page PAGE] [--readme PAGE]

FOLDER holds sets in BEIR layout. Times are those of single questions, one after the other, from
the text of the question to ten hits, encoding included.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from ragib.config import IndexConfig, Kind, MultiVectorConfig, SparseConfig, Using
from ragib.corpus import BadRecords
from ragib.encoders import Encoded, Encoder, load_encoder
from ragib.eval.bench.common import markdown_table, report, run, write_section
from ragib.eval.bench.searching import MEASURES, quality, query_times, search_all
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.eval.measures import Run
from ragib.extras import require
from ragib.indexes.index import Index
from ragib.types import Document

SETS = {"nfcorpus": "dev", "scifact": "train", "cranfield": "test", "vaswani": "test"}
POOL_FACTORS = (1, 2, 3)
SYSTEMS = (
    "bm25s used directly",
    "sparse",
    "dense",
    *(f"multi-vector, pool factor {factor}" for factor in POOL_FACTORS),
    "hybrid",
)


class Remembering:
    """An encoder that encodes each text once, so that pool factors are compared on one encoding."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._seen: dict[tuple[str, str], tuple[Any, Any]] = {}
        self.name, self.revision = encoder.name, encoder.revision

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._encoder, name)

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Encode what was not seen before; answer the rest from memory."""
        new = [text for text in dict.fromkeys(texts) if text not in self._seen]
        if new:
            fresh = self._encoder.passages(new, dense=True, tokens=True)
            assert fresh.dense is not None
            assert fresh.tokens is not None
            self._seen.update(zip(new, zip(fresh.dense, fresh.tokens, strict=True), strict=True))
        found = [self._seen[text] for text in texts]
        return Encoded(
            np.stack([vector for vector, _ in found]) if dense else None,
            [vectors for _, vectors in found] if tokens else None,
        )


def measure_set(data: JudgedSet, encoder: Encoder, folder: Path) -> list[dict[str, Any]]:
    """Build every index over one set and measure each; one row a system."""
    remembering = Remembering(encoder)
    bad = BadRecords()
    documents = list(data.documents(bad))
    if bad.count:
        click.echo(f"{data.name}: {bad.count} records left out, as {bad.first[0]}", err=True)
    rows: list[dict[str, Any]] = []
    for factor in POOL_FACTORS:
        kinds: tuple[Kind, ...] = ("multivector",)
        systems: dict[str, Using] = {f"multi-vector, pool factor {factor}": "multivector"}
        if factor == 2:
            kinds = ("dense", "multivector", "sparse")
            systems = {"sparse": "sparse", "dense": "dense", **systems, "hybrid": "hybrid"}
        config = IndexConfig(kinds=kinds, multivector=MultiVectorConfig(pool_factor=factor))
        index = Index.build(documents, folder / f"pool-{factor}", config, encoder=remembering)
        bytes_of = index.info()["bytes"]
        for name, using in systems.items():
            size = sum(bytes_of[kind] for kind in (kinds if using == "hybrid" else (using,)))
            rows.append(
                {"set": data.name, "system": name, "bytes": size}
                | quality(data, search_all(index, data, using))
                | query_times(index, list(data.queries.values()), using)
            )
    direct = quality(data, bm25s(data, documents))
    rows.append({"set": data.name, "system": "bm25s used directly"} | direct)
    return sorted(rows, key=lambda row: SYSTEMS.index(row["system"]))


def bm25s(data: JudgedSet, documents: Sequence[Document], k: int = 1000) -> Run:
    """Search with the bm25s library alone, over whole documents and the same terms."""
    from ragib.indexes.terms import terms

    library = require("bm25s", "comparing with bm25s")
    config = SparseConfig()
    engine = library.BM25(k1=config.k1, b=config.b, method="lucene")
    engine.index(
        [terms(f"{d.title}\n{d.text}", config.language) for d in documents], show_progress=False
    )
    questions = [terms(text, config.language) for text in data.queries.values()]
    rows, scores = engine.retrieve(questions, k=min(k, len(documents)), show_progress=False)
    return {
        query: {documents[row].id: float(s) for row, s in zip(rs, ss, strict=True) if s > 0}
        for query, rs, ss in zip(data.queries, rows, scores, strict=True)
    }


def averages(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Average every system over the sets."""
    systems = dict.fromkeys(row["system"] for row in rows)
    return [
        {"set": "average", "system": system}
        | {
            name: float(np.mean([r[name] for r in rows if r["system"] == system]))
            for name in MEASURES
        }
        for system in systems
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    size = f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else ""
    times = [f"{row[name]:.1f}" if name in row else "" for name in ("p50_ms", "p95_ms")]
    return [
        f"{row['set']}: {row['system']}",
        *(f"{row[name]:.4f}" for name in MEASURES),
        size,
        *times,
    ]


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--set", "names", multiple=True, type=click.Choice(list(SETS)), help="default: all")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
@click.option(
    "--readme", type=click.Path(exists=True, path_type=Path), help="page for the averages"
)
def main(data: Path, names: tuple[str, ...], page: Path | None, readme: Path | None) -> None:
    """Measure retrieval on the sets in the folder DATA."""
    encoder = load_encoder(IndexConfig().encoder)
    rows: list[dict[str, Any]] = []
    for name in names or SETS:
        with tempfile.TemporaryDirectory() as folder:
            judged = read_beir(data / name, SETS[name])
            rows += measure_set(judged, encoder, Path(folder))
            click.echo(f"{name} done", err=True)
    means = averages(rows)
    header = ["set: system", *MEASURES, "MB", "p50 ms", "p95 ms"]
    table = markdown_table(header, map(_cells, rows + means))
    report("retrieval", table, {"rows": rows + means}, page)
    if readme is not None:
        cells = ([row["system"], *(f"{row[name]:.3f}" for name in MEASURES)] for row in means)
        write_section(readme, "retrieval", markdown_table(["index", *MEASURES], cells))


if __name__ == "__main__":
    run(main)
