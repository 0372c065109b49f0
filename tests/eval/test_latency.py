"""Times: arrivals that wait for nobody, latencies that count from when a question was due."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.config import Config
from ragib.errors import GenerationError
from ragib.eval.evalset import EvalQuery, EvalSet
from ragib.eval.latency import (
    arrivals,
    closed_loop,
    cold_start,
    open_loop,
    percentiles,
    sample,
    summary,
)
from ragib.types import Answer


class Pipeline:
    """Answers one question at a time, each after a while; fails on what it is told to."""

    def __init__(self, seconds: float = 0.0, fails: str = "-") -> None:
        self.seconds = seconds
        self.fails = fails
        self.asked: list[str] = []
        self.lock = threading.Lock()

    def ask(self, question: str) -> Answer:
        with self.lock:
            self.asked.append(question)
            time.sleep(self.seconds)
            if self.fails in question:
                raise GenerationError("no")
        timings = {"retrieve": 0.25, "compress": 0.5, "generate": 1.0, "total": 1.75}
        return Answer(question, "a", (), (), (), False, timings, {})

    async def aask(self, question: str) -> Answer:
        return await asyncio.to_thread(self.ask, question)


def queries(count: int) -> list[EvalQuery]:
    return [EvalQuery(f"q{i}", f"question {i}") for i in range(count)]


@given(st.floats(0.5, 200), st.floats(0.1, 5), st.integers(0, 5))
def test_arrivals_are_ascending_and_settled(rate, seconds, seed):
    times = arrivals(rate, seconds, seed)
    assert times == sorted(times) == arrivals(rate, seconds, seed)
    assert all(0 < at < seconds for at in times)


def test_arrivals_are_a_poisson_process():
    counts = [len(arrivals(5, 10, seed)) for seed in range(400)]
    # Mean and variance of a Poisson distribution are both the rate times the time, here 50.
    assert np.mean(counts) == pytest.approx(50, abs=3 * (50 / 400) ** 0.5)
    assert np.var(counts) == pytest.approx(50, rel=0.25)
    gaps = np.diff(arrivals(100, 100, 0))
    assert np.mean(gaps) == pytest.approx(0.01, rel=0.05)
    assert np.mean(gaps > 0.01) == pytest.approx(np.exp(-1), abs=0.02)


def test_warm_up_is_not_counted_and_failures_are_left_out():
    pipeline = Pipeline(fails="question 2")
    seen = []
    timings = closed_loop(pipeline, queries(4), ["warm", "warmer"], seen.append)
    assert pipeline.asked[:2] == ["warm", "warmer"]
    assert list(timings) == ["q0", "q1", "q3"]
    assert timings["q0"]["retrieve"] == 0.25
    assert 0 <= timings["q0"]["total"] < 1.75  # by our own clock, not by what it says
    assert seen == [1, 2, 3, 4]


def test_percentiles_are_milliseconds():
    timings = {f"q{i}": {"total": i / 1000} for i in range(101)}
    assert percentiles(timings) == {
        "total": {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": pytest.approx(99.0), "mean": 50.0}
    }
    assert percentiles({}) == {}


def test_questions_wait_in_line():
    """A slow server makes those behind late: measured from when they are taken up, none is."""
    seconds, rate = 0.02, 200.0
    due = arrivals(rate, 0.2, seed=0)
    assert len(due) > 15
    found = open_loop(Pipeline(seconds), ["q"], rate=rate, seconds=0.2, target_ms=1e6, seed=0)
    assert found["arrivals"] == len(due)
    # The n-th answer cannot be there before n times the service time.
    least = [max(0.0, (n + 1) * seconds - at) for n, at in enumerate(due)]
    assert found["answered"] + found["errors"] <= len(due)
    if found["answered"] == len(due):
        assert found["mean"] >= 1000 * np.mean(least) * 0.999
        assert found["goodput"] == len(due) / 0.2
    assert found["p99"] > 5 * 1000 * seconds


def test_what_never_comes_is_given_up_and_counts():
    class Deaf:
        async def aask(self, question: str) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    found = open_loop(Deaf(), ["a", "b"], rate=50, seconds=0.1, target_ms=1000, seed=1)
    assert found["arrivals"] == len(arrivals(50, 0.1, 1)) > 0
    assert (found["answered"], found["errors"], found["goodput"]) == (0, 0, 0)
    assert found["p50"] >= 100


def test_failures_under_load_are_counted_and_are_not_good():
    pipeline = Pipeline(fails="bad")
    found = open_loop(pipeline, ["good", "bad"], rate=30, seconds=1, target_ms=1e6, seed=2)
    count = len(arrivals(30, 1, 2))
    assert found["arrivals"] == count
    assert 0 < found["errors"] <= count // 2
    assert 0 < found["answered"] <= count - count // 2
    assert found["goodput"] == found["answered"]


def test_nothing_arrives():
    seed = next(seed for seed in range(1000) if not arrivals(0.5, 0.1, seed))
    found = open_loop(Pipeline(), ["q"], rate=0.5, seconds=0.1, target_ms=1, seed=seed)
    assert found["arrivals"] == 0
    assert "p50" not in found


def test_the_same_questions_are_timed_for_every_pipeline():
    data = EvalSet("s", tuple(queries(50)), lambda: iter(()))
    assert sample(data, 10) == sample(data, 10)
    assert len({query.id for query in sample(data, 10)}) == 10
    assert len(sample(data, 99)) == 50
    assert sample(data, 10, seed=1) != sample(data, 10)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_summary_against_sorting(seconds):
    found = summary(seconds)
    ordered = sorted(1000 * x for x in seconds)
    for percent in (50, 90, 95, 99):
        place = percent / 100 * (len(ordered) - 1)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
        expected = low + (place - int(place)) * (high - low)
        assert found[f"p{percent}"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found["mean"] == pytest.approx(sum(ordered) / len(ordered), rel=1e-9, abs=1e-9)


def test_a_cold_start_that_fails_has_no_figures(tmp_path):
    assert cold_start(tmp_path / "none", Config(), "who?") == {}
