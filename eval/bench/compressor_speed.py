"""Milliseconds a passage and peak memory of the trained compressor.

Passages of 128 tokens of real text, one question with 1, 8 or 32 of them, from text to evidence:
splitting, reading (twice, as calibrated, and once), selecting. Each row is a process of its own.
In int8 too, if the extra `onnx` is installed.
`python -m ragib.eval.bench.compressor_speed --data DIR`.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from ragib.compressor.ib import IBCompressor, load_ib
from ragib.compressor.training.records import read_records
from ragib.compressor.windows import tokenise
from ragib.config import CompressorConfig
from ragib.eval.bench.common import markdown_table, report, run
from ragib.extras import installed
from ragib.types import Passage, Question

Precision = Literal["auto", "int8"]
Row = tuple[Precision, int, bool]
"""Precision, passages at once, and whether they are read only once."""

SIZES = (1, 8, 32)
TOKENS = 128
_ROUNDS = 15


def question_with(texts: Sequence[str], question: str, tokenizer: Any) -> Question:  # noqa: ANN401
    """Cut texts to `TOKENS` tokens and ask of them."""
    spans = [tokens.spans for tokens in tokenise(tokenizer, texts)]
    cut = [t[: int(s[min(TOKENS, len(s)) - 1, 1])] for t, s in zip(texts, spans, strict=True)]
    return Question("q", question, tuple(Passage(str(i), str(i), t) for i, t in enumerate(cut)))


def milliseconds(compressor: IBCompressor, question: Question) -> float:
    """Return the median time a passage, after a warm-up."""
    taken = []
    for _ in range(_ROUNDS + 2):
        begun = time.perf_counter()
        compressor.compress([question])
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken[2:]) / len(question.passages)


def measure(data: Path, weights: Path | None, row: Row) -> dict[str, Any]:
    """Measure one row in this process."""
    precision, size, once = row
    compressor = _load(weights, precision)
    if once:
        single = replace(compressor.calibration, second=None)
        compressor = replace(compressor, calibration=single)
    tokenizer = compressor.model.tokenizer
    texts: list[str] = []
    for record in read_records(data / "dev.jsonl.gz"):
        long = [p.text for p in record.passages if len(tokenizer(p.text).input_ids) > TOKENS]
        texts += [text for text in long if text not in texts]
        if len(texts) >= size:
            break
    question = question_with(texts[:size], record.question, tokenizer)
    return {
        "precision": precision,
        "passages": size,
        "readings": 1 if once or compressor.calibration.second is None else 2,
        "ms": milliseconds(compressor, question),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _load(weights: Path | None, precision: Precision) -> IBCompressor:
    return load_ib(weights, CompressorConfig(name="ib", keep=0.2, precision=precision))


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="default: shipped")
@click.option("--row", type=(click.Choice(["auto", "int8"]), int, bool), hidden=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, weights: Path | None, row: Row | None, page: Path | None) -> None:
    """Measure on passages of dev.jsonl.gz in the folder DATA."""
    if row is not None:
        print(json.dumps(measure(data, weights, row)))
        return
    command = [sys.executable, "-m", "ragib.eval.bench.compressor_speed", "--data", str(data)]
    command += ["--weights", str(weights)] if weights else []
    precisions: tuple[Precision, ...] = ("auto",)
    if installed("onnxruntime"):
        precisions = ("auto", "int8")
        _load(weights, "int8")  # makes what is kept, so that no row has to
    rows = [
        json.loads(
            subprocess.run(
                [*command, "--row", precision, str(size), str(once)],
                check=True,
                stdout=subprocess.PIPE,
            ).stdout
        )
        for precision in precisions
        for once in (False, True)
        for size in SIZES
    ]
    table = markdown_table(
        ["precision: passages at once", "readings", "ms a passage", "peak MiB"],
        [
            [
                f"{r['precision']}: {r['passages']}",
                r["readings"],
                f"{r['ms']:.1f}",
                f"{r['peak_bytes'] / 2**20:.0f}",
            ]
            for r in rows
        ],
    )
    text = (
        f"Passages of {TOKENS} tokens; median of {_ROUNDS} rounds. auto is bfloat16 where the "
        f"processor computes in it, else float32.\n\n{table}"
    )
    report("compressor-speed", text, {"rows": rows}, page)


if __name__ == "__main__":
    run(main)
