"""What a GPU makes of the work: MaxSim against its bandwidth, encoding, whole questions, training.

    python -m ragib.eval.bench.gpu --data FOLDER/qa/dev.jsonl.gz [--page docs/benchmarks.md]

FOLDER/qa/dev.jsonl.gz holds the records that `ragib train compressor` reads; their passages are
encoded and indexed, their questions asked, their labels trained on. It takes under eight minutes.
Passages of MaxSim and of dense search are random, since their time does not depend on what they
hold; bytes are those of their codes or vectors, each read once a pass. Streamed means that none of
them stay on the card. `--device cpu --quick` runs all of it at a size that says nothing, to try it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from ragib.compressor.model import from_base
from ragib.compressor.training.data import Corpus, Mix, make_examples
from ragib.compressor.training.loop import Schedule, train
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.warm_start import warm_start_loss
from ragib.config import Config, EncoderConfig, IndexConfig
from ragib.encoders import load_encoder
from ragib.errors import InputError
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.maxsim import draw
from ragib.extras import require
from ragib.indexes import device_scan
from ragib.indexes.device_scan import DeviceScanner
from ragib.indexes.exact import search_torch
from ragib.indexes.fused import fused
from ragib.indexes.index import Index
from ragib.indexes.maxsim import Block
from ragib.pipeline import RAG
from ragib.types import Document

DIM, VECTORS, QUERY, K = 128, 64, 32, 10
AIM = 4.3e12
"""Bytes a second that an H200 reads, as measured elsewhere: what MaxSim is held against."""

_PURPOSE = "this benchmark"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes copied, passages searched in three ways, texts, questions, updates, and rounds."""

    copied: int
    passages: int
    streamed: int
    dense: int
    texts: int
    questions: int
    steps: int
    rounds: int


FULL = Sizes(1 << 32, 1_000_000, 250_000, 2_000_000, 20_000, 500, 200, 15)
QUICK = Sizes(1 << 20, 60, 40, 300, 12, 3, 2, 1)


def seconds_of(work: Callable[[], object], device: str, rounds: int) -> float:
    """Return the median time of some work, after it was done once."""
    cuda = require("torch", _PURPOSE).cuda
    taken = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        work()
        if device == "cuda":
            cuda.synchronize()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[1:]))


def copying(device: str, sizes: Sizes) -> float:
    """Return the bytes a second that the device's memory gives and takes in a copy."""
    torch = require("torch", _PURPOSE)
    source = torch.ones(sizes.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * sizes.copied / seconds_of(lambda: target.copy_(source), device, sizes.rounds)


def scanning(device: str, sizes: Sizes) -> list[dict[str, Any]]:
    """Search token vectors and vectors on the device; one row a way."""
    torch = require("torch", _PURPOSE)
    rng = np.random.default_rng(0)
    some = rng.integers(-127, 128, (min(sizes.passages, 1000) * VECTORS, DIM), dtype=np.int8)

    def scanner(passages: int, room: int) -> DeviceScanner:
        codes = np.resize(some, (passages * VECTORS, DIM))
        counts = np.full(passages, VECTORS, np.int64)
        block = Block(torch.from_numpy(codes), counts, rng.random(passages, np.float32))
        return DeviceScanner([block], [np.arange(passages)], device, room)

    rows = []

    def add(way: str, count: int, questions: int, size: int, work: Callable[[], object]) -> None:
        seconds = seconds_of(work, device, sizes.rounds)
        row = {"way": way, "count": count, "questions": questions, "ms": 1e3 * seconds}
        rows.append({**row, "bytes_a_second": size / seconds})

    kernel = fused(DIM, device)
    ways = {"torch": None} if kernel is None else {"torch": None, "fused kernel": kernel}
    for where, passages, room in (("", sizes.passages, 1 << 62), (", streamed", sizes.streamed, 0)):
        held = scanner(passages, room)
        wanted, size = np.ones(passages, np.bool_), passages * VECTORS * DIM
        for name, taken in ways.items():
            for questions in (1, 32):
                queries = [draw(rng, QUERY, DIM, None) for _ in range(questions)]
                work = partial(held.top, queries, K, wanted)
                with patch.object(device_scan, "fused", lambda *_, taken=taken: taken):
                    add(f"MaxSim, {name}{where}", passages, questions, size, work)
        del held, work
    vectors = torch.randn(sizes.dense, DIM, device=device)
    for questions in (1, 32):
        work = partial(search_torch, vectors, draw(rng, questions, DIM, None), K)
        add("dense, flat", sizes.dense, questions, vectors.nbytes, work)
    return rows


def encoding(device: str, sizes: Sizes, records: list[Record], model: str) -> dict[str, float]:
    """Return passages a second, for one vector a passage and with those of its tokens."""
    encoder = load_encoder(EncoderConfig(model=model, device=device))
    pairs = [(passage.title, passage.text) for record in records for passage in record.passages]
    texts = pairs[: sizes.texts]
    rates = {}
    for name, tokens in (("one vector", False), ("token vectors too", True)):

        def work(tokens: bool = tokens) -> None:
            encoder.passages(texts, dense=encoder.dense_dim is not None, tokens=tokens)

        rates[f"passages encoded, {name}"] = len(texts) / seconds_of(work, device, 1)
    return rates


def asking(device: str, sizes: Sizes, records: list[Record], model: str) -> dict[str, float]:
    """Return passages a second of a build, and questions a second of the whole pipeline."""
    documents = {
        passage.id: Document(passage.id, passage.text, passage.title)
        for record in records
        for passage in record.passages
    }
    some = list(documents.values())[: sizes.texts]
    questions = [record.question for record in records][: sizes.questions]
    config = Config(index=IndexConfig(encoder=EncoderConfig(model=model, device=device)))
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        with Index.build(some, Path(scratch) / "index", config.index) as index:
            built = len(index) / (time.perf_counter() - begun)
            rag = RAG.from_config(config, index=index)
            try:
                seconds = seconds_of(lambda: rag.ask_batch(questions), device, 1)
            finally:
                rag.close()
    return {
        "passages indexed in all ways": built,
        "questions answered, in one batch": len(questions) / seconds,
    }


def training(device: str, sizes: Sizes, records: list[Record], model: str) -> dict[str, float]:
    """Return examples a second of the compressor's warm start."""
    trained = from_base(model, device=device)
    trained.freeze_words()
    corpus, mix = Corpus(trained.tokenizer, records), Mix()
    examples = make_examples(records, corpus, trained.special, mix, seed=0)
    batch = min(32, len(examples))
    with tempfile.TemporaryDirectory() as scratch:
        for name, steps in (("first", 2), ("second", sizes.steps)):
            schedule = Schedule(steps, batch, batch)
            folder = Path(scratch) / name
            log = train(trained, lambda _: examples, warm_start_loss, schedule, folder)
    return {"examples trained on": log[-1]["examples_per_second"]}


def measure(data: Path, device: str, sizes: Sizes, model: str) -> dict[str, Any]:
    """Measure all of it; returns what is printed.

    Raises
    ------
    InputError
        There is no such device.
    CorpusError
        The records cannot be read.
    """
    cuda = require("torch", _PURPOSE).cuda
    if device == "cuda" and not cuda.is_available():
        raise InputError(
            "--device cuda: torch finds no GPU (see `ragib doctor`); to try this benchmark "
            "without one: --device cpu --quick"
        )
    records = list(read_records(data))
    result: dict[str, Any] = {
        "device": cuda.get_device_name() if device == "cuda" else "CPU",
        "copied_bytes_a_second": copying(device, sizes),
        "scans": scanning(device, sizes),
        "rates": {},
    }
    for part in (encoding, asking, training):
        click.echo(f"{part.__name__} ...", err=True)
        result["rates"] |= part(device, sizes, records, model)
    if device == "cuda":
        result["peak_bytes"] = cuda.max_memory_allocated()
    return result


def show(result: dict[str, Any]) -> str:
    """Lay the result out as two Markdown tables."""
    copied = result["copied_bytes_a_second"]
    scans = [
        [
            row["way"],
            f"{row['count']:,}",
            row["questions"],
            f"{row['ms']:.2f}",
            f"{row['bytes_a_second'] / 1e9:,.0f}",
            f"{100 * row['bytes_a_second'] / copied:.0f} %",
            f"{100 * row['bytes_a_second'] / AIM:.0f} %",
        ]
        for row in result["scans"]
    ]
    header = ("scan", "passages", "questions", "ms", "GB/s", "of a copy", "of 4.3 TB/s")
    rates = [[name, f"{rate:,.1f}"] for name, rate in result["rates"].items()]
    peak = f"; {result['peak_bytes'] / 1e9:.1f} GB at most" if "peak_bytes" in result else ""
    return (
        f"{result['device']}: copying moves {copied / 1e9:,.0f} GB/s{peak}.\n\n"
        f"{VECTORS} vectors of {DIM} dimensions a passage, {QUERY} a question; dense: one of {DIM} "
        f"in single precision.\n\n{markdown_table(header, scans)}\n\n"
        f"{markdown_table(('work', 'a second'), rates)}"
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--model", default="embedded", show_default=True, help="encoder, and base to train")
@click.option("--quick", is_flag=True, help="tiny sizes")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, device: str, model: str, quick: bool, page: Path | None) -> None:
    """Measure the device with the records in DATA."""
    result = measure(data, device, QUICK if quick else FULL, model)
    report("gpu", show(result), result, page)


if __name__ == "__main__":
    run(main)
