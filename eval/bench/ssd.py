"""Candidate mode with the token vectors on the disk: time, reads and memory of a question.

    python -m ragib.eval.bench.ssd --data FOLDER/corpus/ottqa [--page docs/benchmarks.md]

FOLDER is a BEIR folder. Terms are those of its passages; the token vectors of the first ones are
encoded and dealt out to all passages in turn, since what counts here is what is read of a large
file, not what is found. Cold means that before each question (or each batch of them) the pages of
the file are taken out of the process and of the system's cache (`posix_fadvise`), and nothing else
is. Every row is a process of its own with one thread. Ready is how much of the candidates' codes
was in memory when their scoring began; what was not is waited for then. Whether the disk beneath
keeps a cache of its own is not known here.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
from numpy.typing import NDArray

from ragib.config import Candidates, IndexConfig, MultiVectorConfig, RetrieverConfig
from ragib.encoders import Encoded, Encoder, TokenVectors, load_encoder
from ragib.errors import InputError
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.maxsim import K
from ragib.eval.bench.multivector import CANDIDATES, encode
from ragib.eval.bench.opening import memory
from ragib.eval.bench.scale import distinct
from ragib.eval.datasets import JudgedSet, read_beir
from ragib.extras import require
from ragib.indexes import multivector_search, readahead
from ragib.indexes.index import Index
from ragib.indexes.maxsim import Block, score
from ragib.indexes.projection import fit_projection, project
from ragib.indexes.readahead import ReadAhead
from ragib.indexes.search import search_batch
from ragib.indexes.snapshot import Snapshot
from ragib.types import PUBLIC

_READ = re.compile(r"^read_bytes: (\d+)$", re.M)
_SAMPLE = 50_000


@dataclass
class Dealt:
    """An encoder that deals out token vectors made before, and knows those of the questions."""

    texts: Sequence[TokenVectors]
    known: dict[str, TokenVectors]
    token_dim: int
    name: str = "dealt"
    revision: str = "1"
    dense_dim: int | None = None
    trained_projection: bool = True
    turn: int = 0

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Give each passage the vectors whose turn it is."""
        numbers = range(self.turn, self.turn + len(texts))
        self.turn = numbers.stop
        return Encoded(None, [self.texts[number % len(self.texts)] for number in numbers])

    def queries(self, texts: Sequence[str], *, dense: bool, tokens: bool) -> Encoded:
        """Give the vectors of questions that were encoded before."""
        return Encoded(None, [self.known[text] for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count words, of which these texts have three for every four tokens."""
        return [len(text.split()) * 4 // 3 for text in texts]


@dataclass(frozen=True, slots=True)
class Way:
    """What a process measures: `together` questions at a time."""

    candidates: Candidates
    cold: bool
    ahead: bool
    together: int


def ways(questions: int) -> list[Way]:
    """Return what is compared."""
    rows = [Way("sparse", cold, ahead, 1) for cold in (False, True) for ahead in (False, True)]
    rows += [Way("sparse", True, ahead, questions) for ahead in (False, True)]
    return [Way("all", False, False, 1), *rows]


def vectors_of(
    encoder: Encoder, tokens: Sequence[TokenVectors], questions: Sequence[str], dim: int
) -> Dealt:
    """Bring what is dealt out down to the dimensions of an index once, and the questions too."""
    asked = encoder.queries(questions, dense=False, tokens=True).tokens
    assert asked is not None
    matrix = None
    if not encoder.trained_projection and dim < encoder.token_dim:
        sample = np.concatenate([text.vectors for text in tokens])[:_SAMPLE]
        matrix = fit_projection(sample, dim)

    def reduced(text: TokenVectors) -> TokenVectors:
        return TokenVectors(project(text.vectors, matrix, "text"), text.spans)

    known = dict(zip(questions, map(reduced, asked), strict=True))
    dealt = [reduced(text) for text in tokens]
    return Dealt(dealt, known, dealt[0].vectors.shape[1])


def bytes_read() -> int:
    """Return the bytes that this process has had read from a disk."""
    try:
        found = _READ.search(Path("/proc/self/io").read_text(encoding="ascii"))
    except OSError as error:
        raise InputError(f"/proc/self/io: {error.strerror}; this benchmark needs Linux") from None
    assert found is not None
    return int(found[1])


def in_memory(address: int, size: int) -> NDArray[np.bool_]:
    """Say which pages from `address` on are in memory, `(pages,)`."""
    libc = ctypes.CDLL(None, use_errno=True)
    first = address // mmap.PAGESIZE * mmap.PAGESIZE
    pages = -(-(address + size - first) // mmap.PAGESIZE)
    flags = (ctypes.c_ubyte * pages)()
    if libc.mincore(ctypes.c_void_p(first), ctypes.c_size_t(address + size - first), flags):
        raise InputError(f"mincore: {os.strerror(ctypes.get_errno())}")
    resident: NDArray[np.bool_] = (np.frombuffer(bytes(flags), np.uint8) & 1) > 0
    return resident


@dataclass
class Files:
    """The mapped files of token vectors of a generation."""

    arrays: list[NDArray[Any]]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Files:
        """Find them."""
        searcher: Any = snapshot.searcher("multivector")
        pairs = [(segment.codes, segment.residual) for segment in searcher.segments]
        return cls([array for pair in pairs for array in pair if array is not None])

    def drop(self) -> None:
        """Take their pages out of this process and of the system's cache."""
        for array in self.arrays:
            assert isinstance(array, np.memmap)
            base: Any = array.base
            base.madvise(mmap.MADV_DONTNEED)
            assert array.filename is not None
            with Path(array.filename).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def held(self) -> int:
        """Return how many of their bytes are in memory."""
        pages = [in_memory(array.ctypes.data, array.nbytes).sum() for array in self.arrays]
        return int(sum(pages)) * mmap.PAGESIZE


def measure(folder: Path, dealt: Dealt, way: Way) -> dict[str, Any]:
    """Ask all questions in one way, in this process."""
    require("torch", "this benchmark").set_num_threads(1)
    config = RetrieverConfig(using="multivector", k=K, depth=CANDIDATES, candidates=way.candidates)
    snapshot = Snapshot(folder)
    questions = list(dealt.known)
    files = Files.of(snapshot)

    def ask(batch: list[str]) -> None:
        search_batch(snapshot, lambda: dealt, batch, config, None, [PUBLIC])

    with ExitStack() as stack:
        if not way.ahead:
            stack.enter_context(patch.object(ReadAhead, "ask", lambda *_: None))
        if way.cold:  # pages are gone sooner than it would ask for them again
            stack.enter_context(patch.object(readahead, "FORGET", 0.0))
        ask(questions)  # what is compiled or kept in memory is made now
        rows = []
        for start in range(0, len(questions), way.together):
            batch = questions[start : start + way.together]
            rows.append(_once(ask, batch, files, way) | {"questions": len(batch)})
    for row in rows:
        for name in ("ms", "read_mb"):
            row[name] /= row["questions"]
    p50, p95 = np.percentile([row["ms"] for row in rows], [50, 95])
    return {
        **{name: getattr(way, name) for name in Way.__slots__},
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        **{name: float(np.mean([row[name] for row in rows])) for name in ("read_mb", "held_mb")},
        "ready": float(np.mean([row["ready"] for row in rows])),
        "rss_mb": memory()["rss"] / 1e6,
    }


def _once(ask: Any, batch: list[str], files: Files, way: Way) -> dict[str, Any]:  # noqa: ANN401
    """Ask a batch for its time, and again for what was ready; cold before each, if so wanted."""
    ready: list[NDArray[np.bool_]] = []

    def looking(block: Block, queries: Any, passages: NDArray[np.int64]) -> Any:  # noqa: ANN401
        codes, width = block.codes.data_ptr(), block.codes.shape[1]
        for first, last in zip(block.offsets[passages], block.offsets[passages + 1], strict=True):
            ready.append(in_memory(codes + int(first) * width, int(last - first) * width))
        return score(block, queries, passages)

    if way.cold:
        files.drop()
        if files.held() > 0.5 * sum(array.nbytes for array in files.arrays):
            raise InputError(
                f"{tempfile.gettempdir()}: the system keeps its files in memory; "
                "set TMPDIR to a folder on a disk"
            )
    before = bytes_read()
    started = time.perf_counter()
    ask(batch)
    seconds = time.perf_counter() - started
    read, held = bytes_read() - before, files.held()
    if way.cold:
        files.drop()
    with patch.object(multivector_search, "score", looking):
        ask(batch)
    share = float(np.concatenate(ready).mean()) if ready else 1.0
    return {"ms": 1e3 * seconds, "read_mb": read / 1e6, "held_mb": held / 1e6, "ready": share}


def prepare(
    data: JudgedSet, encoder: Encoder, sizes: tuple[int, int], questions: int, folder: Path
) -> tuple[Dealt, dict[str, Any]]:
    """Build the index in `folder`; `sizes` are documents indexed, and documents encoded.

    Returns
    -------
    tuple
        What knows the questions, and what the index is.
    """
    settings = MultiVectorConfig()
    asked = list(islice(data.queries.values(), questions))
    dealt = vectors_of(encoder, encode(data, encoder, sizes[1])[1], asked, settings.dim)
    config = IndexConfig(kinds=("multivector", "sparse"), multivector=settings)
    with Index.build(islice(distinct(data), sizes[0]), folder, config, encoder=dealt) as index:
        passages = len(index)
    size = sum(array.nbytes for array in Files.of(Snapshot(folder)).arrays)
    click.echo(f"built: {passages:,} passages, {size / 1e6:.0f} MB", err=True)
    return replace(dealt, texts=[]), {
        "passages": passages,
        "bytes": size,
        "candidates": CANDIDATES,
        "questions": len(asked),
    }


def apart(folder: Path, dealt: Dealt, way: Way) -> dict[str, Any]:
    """Measure one way in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        row = pool.apply(measure, (folder, dealt, way))
    click.echo(f"{way}: {row['p50_ms']:.1f} ms", err=True)
    return row


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table."""
    rows = []
    for row in result["rows"]:
        scored = "every passage" if row["candidates"] == "all" else f"{CANDIDATES} by terms"
        together = "" if row["together"] == 1 else f", {row['together']} questions at once"
        rows.append(
            [
                f"{scored}{together}",
                "cold" if row["cold"] else "warm",
                "yes" if row["ahead"] else "no",
                f"{row['p50_ms']:.1f}",
                f"{row['p95_ms']:.1f}",
                f"{row['read_mb']:.1f}",
                f"{100 * row['ready']:.0f} %",
                f"{row['held_mb']:.0f}",
                f"{row['rss_mb']:.0f}",
            ]
        )
    header = (
        "scored",
        "file",
        "read ahead",
        "p50 ms a question",
        "p95 ms",
        "MB read a question",
        "ready",
        "MB of the file in memory",
        "MB the process holds",
    )
    about = (
        f"{result['passages']:,} passages, {result['bytes'] / 1e6:.0f} MB of token vectors; "
        f"{result['questions']} questions, encoded before; 1 thread"
    )
    return f"{about}\n\n{markdown_table(header, rows)}"


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--documents", default=20_000, show_default=True, help="documents indexed")
@click.option("--encoded", default=300, show_default=True, help="documents encoded")
@click.option("--questions", default=20, show_default=True, help="questions asked")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, documents: int, encoded: int, questions: int, page: Path | None) -> None:
    """Measure candidate mode on the corpus in the folder DATA."""
    require("torch", "this benchmark").set_num_threads(1)
    encoder = load_encoder(IndexConfig().encoder)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        sizes = documents, encoded
        dealt, result = prepare(read_beir(data, "test"), encoder, sizes, questions, folder)
        result["rows"] = [apart(folder, dealt, way) for way in ways(result["questions"])]
    report("ssd", show(result), result, page)


if __name__ == "__main__":
    run(main)
