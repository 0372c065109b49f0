"""Load on `ragib serve`: many clients at once, then an end in the midst of their requests.

Each client asks, waits for the answer and asks again (a closed loop), over connections that are
kept open. When the time is up the server gets SIGTERM while all of them wait. A request counts as
dropped if its connection was made and no whole response came; one that is refused a connection was
never accepted. Clients and server share the machine.
`python -m ragib.eval.bench.serving --data SET --index DIR`.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from ragib.errors import RagibError
from ragib.eval.bench.common import markdown_table, report, run
from ragib.eval.evalset import EvalSet
from ragib.eval.latency import summary
from ragib.eval.read import read_eval_set
from ragib.extras import require
from ragib.indexes.index import Index

STAGES = ("queue", "retrieve", "compress", "generate")
_PATIENCE = 600.0


@dataclass(slots=True)
class Load:
    """What the clients saw: seconds by stage, `total` as they measured it; and what failed.

    `errors` counts what came before the end was asked for, `dropped` what came after it; `late`
    are answers that came after it.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in STAGES})
    total: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    late: int = 0
    abstained: int = 0
    ending: bool = False

    def answered(self, seconds: float, own: dict[str, Any]) -> None:
        """Take down an answer; what its stages do not explain, it waited for its turn."""
        self.late += self.ending
        self.abstained += own["abstained"]
        self.total.append(seconds)
        stages = {**own["timings"], "queue": max(0.0, seconds - own["timings"]["total"])}
        for stage in STAGES:
            self.seconds[stage].append(stages[stage])

    def failed(self, reason: str) -> None:
        """Take down a request without an answer."""
        (self.dropped if self.ending else self.errors)[reason] += 1


@contextmanager
def serving(index: Path, options: Sequence[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `ragib serve` on a free port; gives its address and its process.

    Raises
    ------
    RagibError
        It does not start; it says why on stderr.
    """
    command = [sys.executable, "-m", "ragib", "serve", str(index), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RagibError(f"the server did not start: {' '.join(command)}")
        yield url, process
    finally:
        process.kill()
        process.communicate()


async def press(
    url: str, questions: Sequence[str], clients: int, seconds: float, end: Callable[[], None]
) -> tuple[Load, float]:
    """Ask for a while, call `end`, and go on until the server refuses connections.

    Returns what the clients saw, and the seconds until `end` was called.
    """
    httpx = require("httpx", "the load on a server")
    load = Load()

    async def client(http: Any, number: int) -> None:  # noqa: ANN401
        place = number
        while True:
            question = questions[place % len(questions)]
            place += clients
            body = {"messages": [{"role": "user", "content": question}]}
            asked = time.perf_counter()
            try:
                response = await http.post("/v1/chat/completions", json=body)
            except httpx.ConnectError as error:
                if not load.ending:
                    load.failed(type(error).__name__)
                return
            except httpx.HTTPError as error:
                load.failed(type(error).__name__)
                continue
            if response.status_code == 200:
                load.answered(time.perf_counter() - asked, response.json()["ragib"])
            else:
                load.failed(f"status {response.status_code}")

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(
        base_url=url, timeout=_PATIENCE, limits=limits, trust_env=False
    ) as http:
        begin = time.perf_counter()
        tasks = [asyncio.create_task(client(http, number)) for number in range(clients)]
        await asyncio.sleep(seconds)
        lasted = time.perf_counter() - begin
        load.ending = True
        end()
        await asyncio.gather(*tasks)
    return load, lasted


def measure(
    index: Path, questions: Sequence[str], clients: int, seconds: float, options: Sequence[str]
) -> dict[str, Any]:
    """Start a server, put it under load, end it, and say how all of that went."""
    patient = ["--deadline", str(_PATIENCE), "--grace", str(_PATIENCE)]
    options = ["--queue", str(clients), *patient, *options]
    with serving(index, options) as (url, process):
        peak = 0

        def end() -> None:
            nonlocal peak
            peak = peak_bytes(process.pid)
            process.send_signal(signal.SIGTERM)

        load, lasted = asyncio.run(press(url, questions, clients, seconds, end))
        code = process.wait(_PATIENCE)
    if not load.total:
        raise RagibError(f"no request was answered: {dict(load.errors + load.dropped)}")
    times = {"total": load.total, **load.seconds}
    return {
        "clients": clients,
        "seconds": lasted,
        "answered": len(load.total),
        "abstained": load.abstained,
        "per_second": (len(load.total) - load.late) / lasted,
        "errors": dict(load.errors),
        "answered_after_sigterm": load.late,
        "dropped": dict(load.dropped),
        "exit_code": code,
        "peak_bytes": peak,
        "milliseconds": {stage: summary(values) for stage, values in times.items()},
    }


def peak_bytes(process: int) -> int:
    """Return the most memory that a process has held, as Linux counts it; 0 elsewhere."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def told(row: dict[str, Any], passages: int, options: Sequence[str]) -> str:
    """Lay out what was measured."""
    kinds = ("p50", "p90", "p95", "p99", "mean")
    times = [
        [stage, *(f"{times[kind]:,.1f}" for kind in kinds)]
        for stage, times in row["milliseconds"].items()
    ]
    how = f" ({' '.join(options)})" if options else ""
    return (
        f"{row['clients']} clients for {row['seconds']:.0f} s, closed loop, an index of "
        f"{passages:,} passages{how}: {row['answered']:,} answers, of them {row['abstained']:,} "
        f"that there is none; {row['per_second']:.1f} a second; errors: "
        f"{_counted(row['errors'])}. Peak memory of the server "
        f"{row['peak_bytes'] / 2**20:,.0f} MiB.\n\n"
        f"SIGTERM with {row['clients']} clients waiting: {row['answered_after_sigterm']} answered "
        f"after it, dropped: {_counted(row['dropped'])}; exit code {row['exit_code']}.\n\n"
        f"{markdown_table(['milliseconds', *kinds], times)}"
    )


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"


@contextmanager
def _index(given: Path | None, data: EvalSet) -> Iterator[tuple[Path, int]]:
    """Give the index and its number of passages; build one for as long as it is needed."""
    with TemporaryDirectory() if given is None else nullcontext() as folder:
        place = given or Path(str(folder)) / "index"
        opened = Index.open(place) if given else Index.build(data.documents(), place)
        with opened:
            passages = len(opened)
        yield place, passages


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option(
    "--index",
    type=click.Path(exists=True, path_type=Path),
    help="default: built of the documents of the data, and removed",
)
@click.option("--clients", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=60.0, show_default=True)
@click.option("--concurrency", type=click.IntRange(min=1), help="of the server")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="of the server")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="page to write into")
def main(
    data: Path,
    index: Path | None,
    clients: int,
    seconds: float,
    concurrency: int | None,
    overrides: tuple[str, ...],
    page: Path | None,
) -> None:
    """Put a server under load with the questions of the evaluation set DATA."""
    asked = read_eval_set(data)
    questions = [query.text for query in asked.queries]
    options = ["--concurrency", str(concurrency)] if concurrency else []
    options += [word for one in overrides for word in ("--set", one)]
    with _index(index, asked) as (place, passages):
        row = measure(place, questions, clients, seconds, options)
    report("serving", told(row, passages, options), row, page)


if __name__ == "__main__":
    run(main)
