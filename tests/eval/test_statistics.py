from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.eval import statistics
from ragib.eval.results import Comparison, Interval
from ragib.eval.statistics import (
    bootstrap_interval,
    bootstrap_statistic,
    corrected,
    holm,
    sign_flip_p,
)

SIMULATIONS = 1000
CLUSTERS = [f"document {i}" for i in range(120) for _ in range(1 + i % 6)]

values_and_clusters = st.lists(
    st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), st.sampled_from(["", "a", "b", "c"])),
    min_size=1,
    max_size=9,
)


def within(count: int, rate: float) -> bool:
    """Say whether a count of all simulations is in the 99.9 % interval of its binomial law."""
    odds = [
        math.comb(SIMULATIONS, k) * rate**k * (1 - rate) ** (SIMULATIONS - k)
        for k in range(SIMULATIONS + 1)
    ]
    return sum(odds[: count + 1]) > 0.0005 and sum(odds[count:]) > 0.0005


def of_documents(draw: np.random.Generator) -> np.ndarray:
    """Draw values with mean 0 that those of one document have half in common."""
    shared = dict(zip(dict.fromkeys(CLUSTERS), draw.normal(size=120), strict=True))
    return np.array([shared[name] for name in CLUSTERS]) + draw.normal(size=len(CLUSTERS))


def groups(names: list[str]) -> list[list[int]]:
    """List the rows of each cluster; an empty name is one of its own."""
    rows: dict[object, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name or row, []).append(row)
    return list(rows.values())


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    draw = np.random.default_rng(0)
    p = [sign_flip_p(draw.normal(size=30), flips=199, seed=i) for i in range(SIMULATIONS)]
    for level in (0.05, 0.2, 0.5):
        assert within(sum(value <= level for value in p), level)


def test_false_alarms_of_differences_that_are_mostly_ties() -> None:
    draw = np.random.default_rng(1)
    tries = [draw.choice([-1, 0, 0, 0, 1], size=200) for _ in range(SIMULATIONS)]
    p = [sign_flip_p(d, flips=199, seed=i) for i, d in enumerate(tries)]
    alarms = sum(value <= 0.05 for value in p)
    assert alarms > 0.02 * SIMULATIONS  # ties make it careful, not blind
    assert alarms < 0.05 * SIMULATIONS or within(alarms, 0.05)


def test_false_alarms_where_questions_share_documents() -> None:
    draw = np.random.default_rng(2)
    tries = [of_documents(draw) for _ in range(SIMULATIONS)]
    whole = [sign_flip_p(d, CLUSTERS, flips=199, seed=i) for i, d in enumerate(tries)]
    alone = [sign_flip_p(d, flips=199, seed=i) for i, d in enumerate(tries)]
    assert within(sum(value <= 0.05 for value in whole), 0.05)
    assert sum(value <= 0.05 for value in alone) > 0.15 * SIMULATIONS


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(3)
    found = [
        bootstrap_interval(draw.binomial(1, 0.3, size=150), resamples=300, level=0.9, seed=i)
        for i in range(SIMULATIONS)
    ]
    assert within(sum(one.low <= 0.3 <= one.high for one in found), 0.9)


def test_intervals_where_questions_share_documents() -> None:
    draw = np.random.default_rng(4)
    tries = [of_documents(draw) for _ in range(SIMULATIONS)]
    chosen = {"resamples": 200, "level": 0.9}
    whole = [bootstrap_interval(v, CLUSTERS, seed=i, **chosen) for i, v in enumerate(tries)]
    alone = [bootstrap_interval(v, seed=i, **chosen) for i, v in enumerate(tries[:100])]
    assert within(sum(one.low <= 0 <= one.high for one in whole), 0.9)
    assert sum(one.low <= 0 <= one.high for one in alone) < 80


def test_power_grows_with_the_difference() -> None:
    draw = np.random.default_rng(5)
    noise = draw.normal(size=100)
    p = [sign_flip_p(noise - noise.mean() + shift) for shift in (0, 0.1, 0.2, 0.4)]
    assert p == sorted(p, reverse=True)
    assert p[0] > 0.9
    assert p[-1] < 0.001


@given(values_and_clusters)
@settings(max_examples=60)
def test_flipping_at_random_comes_near_flipping_every_way(pairs: list[tuple[float, str]]) -> None:
    values, names = [value for value, _ in pairs], [name for _, name in pairs]
    sums = [sum(values[row] for row in rows) for rows in groups(names)]
    every = [sum(s * v for s, v in zip(signs, sums, strict=True)) for signs in
             product((-1, 1), repeat=len(sums))]  # fmt: skip
    exact = sum(abs(total) >= abs(sum(sums)) - 1e-9 for total in every) / len(every)
    spread = 5 * math.sqrt(exact * (1 - exact) / 4000)
    assert sign_flip_p(values, names, flips=4000) == pytest.approx(exact, abs=spread + 1e-3)


@given(values_and_clusters, st.integers(0, 9), st.sampled_from([1, 7, 1 << 22]))
@settings(max_examples=60)
def test_intervals_as_one_resample_after_the_other(
    pairs: list[tuple[float, str]], seed: int, cells: int
) -> None:
    values, names = np.array([value for value, _ in pairs]), [name for _, name in pairs]
    members = groups(names)
    draw = np.random.default_rng(seed)
    means = []
    for _ in range(40):
        drawn = draw.integers(0, len(members), size=len(members))
        means.append(values[[row for cluster in drawn for row in members[cluster]]].mean())
    low, high = np.quantile(means, [0.1, 0.9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_CELLS", cells)
        found = bootstrap_interval(values, names, resamples=40, level=0.8, seed=seed)
        same = bootstrap_statistic(
            lambda rows: float(values[rows].mean()),
            len(values),
            names,
            resamples=40,
            level=0.8,
            seed=seed,
        )
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert (same.mean, same.low, same.high) == pytest.approx((values.mean(), low, high))
    assert found.n == same.n == len(values)


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1))
def test_holm_rejects_what_stepping_down_rejects(p: list[float], level: float) -> None:
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if min(1.0, p[i] * (len(p) - rank)) > level:
            break
        rejected.add(i)
    assert {i for i, value in enumerate(holm(p)) if value <= level} == rejected


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_nothing_to_compare() -> None:
    assert (
        bootstrap_interval([]) == bootstrap_statistic(lambda rows: 1.0, 0) == Interval(0, 0, 0, 0)
    )
    assert bootstrap_interval([0.5]) == Interval(0.5, 0.5, 0.5, 1)
    assert sign_flip_p([]) == sign_flip_p([0, 0, 0]) == 1
    with pytest.raises(ValueError, match="2 values, but 1 clusters"):
        bootstrap_interval([1, 2], ["a"])


def test_one_cluster_tells_nothing() -> None:
    assert sign_flip_p([1.0] * 50, ["a"] * 50) == 1
    assert sign_flip_p([1.0] * 50, [""] * 50) == sign_flip_p([1.0] * 50) == 1 / 10_001


def test_a_loss_of_three_points_is_found_and_a_rerun_is_not() -> None:
    draw = np.random.default_rng(6)
    before = draw.binomial(1, 0.6, size=1500)
    lost = before.copy()
    lost[draw.choice(np.flatnonzero(before), size=45, replace=False)] = 0
    again = before.copy()
    again[draw.choice(np.flatnonzero(before), size=10, replace=False)] = 0
    again[draw.choice(np.flatnonzero(before == 0), size=12, replace=False)] = 1
    documents = [f"d{i // 4}" for i in range(1500)]
    table = []
    for run in (lost, again):
        found = bootstrap_interval(run - before, documents)
        p = sign_flip_p(run - before, documents)
        table.append(Comparison("a", "b", "em", found.mean, found.low, found.high, p, p))
    worse, same = corrected(table)
    assert worse.difference == pytest.approx(-0.03)
    assert worse.high < 0
    assert worse.p_holm == 2 * worse.p < 0.01
    assert same.difference == pytest.approx(2 / 1500)
    assert same.low < 0 < same.high
    assert same.p_holm == same.p > 0.5
