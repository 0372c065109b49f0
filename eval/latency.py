"""How long a pipeline takes: one question at a time, under load, and from a cold start.

All of it goes the whole way, with no cache but the pipeline's own. Under load, questions arrive at
random times that were drawn before (a Poisson process), whether or not earlier ones are answered,
and a latency counts from when its question was due: a slow answer makes those behind it late, and
measuring from when they are taken up would hide that ("coordinated omission": Gil Tene, "How NOT
to Measure Latency", 2013; open against closed systems: Schroeder, Wierman and Harchol-Balter,
NSDI 2006). The clock is monotonic.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ragib.config import Config
from ragib.errors import RagibError
from ragib.eval.evalset import EvalQuery, EvalSet
from ragib.generators.running import run
from ragib.pipeline import RAG
from ragib.types import Answer

WARM_UP = 10
"""Questions asked before any is timed."""

PERCENTILES = (50, 90, 95, 99)

_COLD_LIMIT = 600.0


def sample(data: EvalSet, size: int, seed: int = 0) -> list[EvalQuery]:
    """Draw the questions that are timed, the same for every pipeline of a run."""
    size = min(size, len(data.queries))
    return random.Random(seed).sample(data.queries, size)  # noqa: S311


def closed_loop(
    rag: RAG,
    queries: Sequence[EvalQuery],
    warm_up: Sequence[str],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, float]]:
    """Ask one question after the other.

    Parameters
    ----------
    rag
        The pipeline.
    queries
        What is timed.
    warm_up
        Questions asked before; how they go does not matter.
    progress
        Called with the number of questions answered.

    Returns
    -------
    dict[str, dict[str, float]]
        Query id -> seconds by stage, and `total`, the time until the answer was there. A question
        that failed is not in it.
    """
    for question in warm_up:
        _asked(rag, question)
    timings: dict[str, dict[str, float]] = {}
    for number, query in enumerate(queries, 1):
        begin = time.perf_counter()
        answer = _asked(rag, query.text)
        total = time.perf_counter() - begin
        if answer is not None:
            timings[query.id] = {**answer.timings, "total": total}
        progress(number)
    return timings


def percentiles(timings: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return stage -> `p50`, `p90`, `p95`, `p99` and `mean`, in milliseconds."""
    stages = dict.fromkeys(stage for times in timings.values() for stage in times)
    return {
        stage: summary([times[stage] for times in timings.values() if stage in times])
        for stage in stages
    }


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return `p50`, `p90`, `p95`, `p99` and `mean` of times, in milliseconds."""
    values = 1000 * np.asarray(seconds, dtype=np.float64)
    found = np.percentile(values, PERCENTILES)
    marks = {f"p{p}": float(value) for p, value in zip(PERCENTILES, found, strict=True)}
    return {**marks, "mean": float(values.mean())}


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times at which questions arrive: a Poisson process of `rate` a second.

    Returns
    -------
    list[float]
        Ascending, all within `seconds`.
    """
    generator = random.Random(seed)  # noqa: S311
    times: list[float] = []
    now = generator.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += generator.expovariate(rate)
    return times


def open_loop(
    rag: RAG,
    questions: Sequence[str],
    *,
    rate: float,
    seconds: float,
    target_ms: float,
    seed: int = 0,
) -> dict[str, float]:
    """Let questions arrive at random, and see how long each waits for its answer.

    What is not answered when as much time again has passed is given up: it counts with the time it
    has waited by then, and not as good.

    Parameters
    ----------
    rag
        The pipeline.
    questions
        Taken in turn, over and over.
    rate
        Questions a second.
    seconds
        For how long they arrive.
    target_ms
        The latency that counts as good.
    seed
        Of the arrivals.

    Returns
    -------
    dict[str, float]
        `rate`, `arrivals`, `answered`, `errors`; `p50`, `p90`, `p95`, `p99` and `mean` in
        milliseconds from when a question was due; `goodput`, answers within the target a second;
        and `target_ms`. No percentiles if no question arrived.
    """
    due = arrivals(rate, seconds, seed)
    asked = [questions[i % len(questions)] for i in range(len(due))]
    waited, errors, answered = run(_loaded(rag, asked, due, seconds))
    good = sum(1000 * time <= target_ms for time in answered)
    return {
        "rate": rate,
        "arrivals": float(len(due)),
        "answered": float(len(answered)),
        "errors": float(errors),
        **(summary([*answered, *waited]) if answered or waited else {}),
        "goodput": good / seconds,
        "target_ms": target_ms,
    }


def cold_start(folder: Path, config: Config, question: str) -> dict[str, float]:
    """Open an index and answer a first question, in a fresh process.

    Returns
    -------
    dict[str, float]
        `cold_start_seconds`, from the first line of ragib's until the answer, and
        `peak_rss_bytes`; with a GPU, `gpu_bytes` at most held by torch. Empty if it failed.
    """
    values = {"folder": str(folder), "config": config.model_dump(mode="json"), "question": question}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ragib.eval.cold"],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            check=True,
            timeout=_COLD_LIMIT,
        )
        return {key: float(value) for key, value in json.loads(done.stdout).items()}
    except (subprocess.SubprocessError, ValueError):
        return {}


async def _loaded(
    rag: RAG, questions: Sequence[str], due: Sequence[float], seconds: float
) -> tuple[list[float], int, list[float]]:
    """Return the time waited for what was given up, the errors, and the time of the answers."""
    start = time.perf_counter()
    answered: list[float] = []
    failed: list[float] = []

    async def ask(question: str, at: float) -> None:
        try:
            await rag.aask(question)
        except Exception:
            failed.append(time.perf_counter() - start - at)
        else:
            answered.append(time.perf_counter() - start - at)

    tasks: dict[asyncio.Task[None], float] = {}
    for question, at in zip(questions, due, strict=True):
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        tasks[asyncio.create_task(ask(question, at))] = at
    waited: list[float] = []
    if tasks:
        left = max(0.0, start + 2 * seconds - time.perf_counter())
        _, pending = await asyncio.wait(tasks, timeout=left)
        now = time.perf_counter() - start
        waited = [now - tasks[task] for task in pending]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return waited, len(failed), answered


def _asked(rag: RAG, question: str) -> Answer | None:
    try:
        return rag.ask(question)
    except RagibError:
        return None
    except (MemoryError, OSError):
        raise
    except Exception:
        return None
