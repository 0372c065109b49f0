"""Open an index of some 170,000 passages: how long it takes, and what memory it holds and shares.

    python -m ragib.eval.bench.opening --data FOLDER/corpus/ottqa [--page docs/benchmarks.md]

FOLDER is a BEIR folder, of which a sparse index is built; `--index DIR` opens one that is there.
Every process is a fresh one that has imported ragib; what a kind of index imports to be searched
is part of the first question. Memory is what Linux says of a process (`/proc/self/smaps_rollup`):
the resident set counts every page that it holds, the proportional one divides a page by the
processes that hold it. Before anything is opened, Python and the libraries take the first column.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import click
import numpy as np

from ragib.config import IndexConfig
from ragib.errors import InputError
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.bench.scale import distinct
from ragib.eval.datasets import read_beir
from ragib.indexes.index import Index

WORKERS = 4
WAIT = 600.0
"""Seconds that processes wait for one another."""

_ROLLUP = Path("/proc/self/smaps_rollup")


def memory() -> dict[str, int]:
    """Return the bytes of this process: `rss`, `pss`, and `private`, which no other holds.

    Raises
    ------
    InputError
        The system does not say.
    """
    try:
        text = _ROLLUP.read_text(encoding="ascii")
    except OSError as error:
        raise InputError(f"{_ROLLUP}: {error.strerror}; this benchmark needs Linux") from None
    sizes = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
    return {
        "rss": sizes["Rss"],
        "pss": sizes["Pss"],
        "private": sizes["Private_Clean"] + sizes["Private_Dirty"],
    }


def hold(folder: Path, questions: list[str], gate: Barrier, told: Connection) -> None:
    """Open an index, search it, and say what it took; all processes hold it when they are weighed.

    The first question is timed apart from the others: it reads what opening does not.
    """
    try:
        before = memory()
        started = time.perf_counter()
        with Index.open(folder) as index:
            opened = time.perf_counter() - started
            at_open = memory()
            seconds = []
            for question in questions:
                started = time.perf_counter()
                index.search(question, k=10)
                seconds.append(time.perf_counter() - started)
            gate.wait(WAIT)
            after = memory()
            gate.wait(WAIT)
    except BaseException:
        gate.abort()  # or the others would wait for this process
        raise
    told.send(
        {
            "open_s": opened,
            "first_s": seconds[0],
            "p50_ms": 1e3 * float(np.median(seconds[1:] or seconds)),
            "before": before,
            "opened": at_open,
            "searched": after,
        }
    )


def weigh(folder: Path, questions: list[str], workers: int) -> list[dict[str, Any]]:
    """Let so many processes at once hold an index; returns what each of them says.

    Raises
    ------
    InputError
        A process ended without a word.
    """
    spawn = multiprocessing.get_context("spawn")
    gate = spawn.Barrier(workers)
    pipes = [spawn.Pipe(duplex=False) for _ in range(workers)]
    started = [
        spawn.Process(target=hold, args=(folder, questions, gate, told), daemon=True)
        for _, told in pipes
    ]
    for process in started:
        process.start()
    for _, told in pipes:
        told.close()
    try:
        return [heard.recv() for heard, _ in pipes]
    except EOFError:
        raise InputError(f"{folder}: a process that opened it failed; see above") from None
    finally:
        for process in started:
            process.join(WAIT)


def compare(folder: Path, questions: list[str]) -> dict[str, Any]:
    """Weigh one process and several; returns what is printed."""
    with Index.open(folder) as index:
        info = index.info()
    weigh(folder, questions, 1)  # its pages are in the system's cache from here on
    return {
        "passages": info["passages"],
        "kinds": list(info["kinds"]),
        "bytes": info["bytes"]["total"],
        "questions": len(questions),
        "rows": [
            {"processes": count, "each": weigh(folder, questions, count)} for count in (1, WORKERS)
        ],
    }


def show(result: dict[str, Any]) -> str:
    """Lay the result out as a Markdown table; of several processes the means."""
    rows = []
    for row in result["rows"]:
        each = row["each"]

        def mean(*path: str, each: list[dict[str, Any]] = each) -> float:
            values = []
            for one in each:
                value: Any = one
                for key in path:
                    value = value[key]
                values.append(float(value))
            return float(np.mean(values))

        rows.append(
            [
                row["processes"],
                f"{1e3 * mean('open_s'):.0f}",
                f"{mean('before', 'rss') / 1e6:.0f}",
                f"{mean('opened', 'rss') / 1e6:.0f}",
                f"{1e3 * mean('first_s'):.0f}",
                f"{mean('p50_ms'):.1f}",
                f"{mean('searched', 'rss') / 1e6:.0f}",
                f"{mean('searched', 'pss') / 1e6:.0f}",
                f"{mean('searched', 'private') / 1e6:.0f}",
            ]
        )
    header = (
        "processes",
        "open ms",
        "MB before",
        "MB opened",
        "first question ms",
        "p50 ms",
        "MB after",
        "proportional MB after",
        "private MB after",
    )
    return (
        f"{result['passages']:,} passages, {' + '.join(result['kinds'])}, "
        f"{result['bytes'] / 1e6:.0f} MB on disk; {result['questions']} questions in every "
        f"process.\n\n{markdown_table(header, rows)}"
    )


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--index", type=click.Path(exists=True, path_type=Path), help="default: build one")
@click.option("--queries", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(data: Path, index: Path | None, queries: int, page: Path | None) -> None:
    """Open and weigh an index of the corpus in the folder DATA."""
    judged = read_beir(data, "test")
    questions = list(judged.queries.values())[:queries]
    with ExitStack() as stack:
        folder = index or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "index"
        if index is None:
            Index.build(distinct(judged), folder, IndexConfig(kinds=("sparse",))).close()
            click.echo("built", err=True)
        result = compare(folder, questions)
    report("opening", show(result), result, page)


if __name__ == "__main__":
    run(main)
