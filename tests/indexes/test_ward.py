"""Clusters in compiled loops: those of SciPy to the last bit, and those of the definition."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.errors import InputError, RagibError
from ragib.indexes import ward as module
from ragib.indexes.pooling import normalised, one_by_one, pool_batch
from ragib.indexes.ward import by_numba, by_scipy, ward

pytest.importorskip("numba")

Matrix = np.ndarray


def drawn(count: int, dim: int, seed: int) -> Matrix:
    rng = np.random.default_rng(seed)
    return normalised(rng.standard_normal((count, dim)).astype(np.float32))


def repeated(count: int, seed: int) -> Matrix:
    """Few directions, each many times, as a word that comes again and again."""
    rng = np.random.default_rng(seed)
    several = drawn(int(rng.integers(1, 20)), 8, seed)
    return several[rng.integers(0, len(several), count)]


def lattice(count: int, seed: int) -> Matrix:
    """Corners of a cube: hardly any distance that is not tied with many others."""
    rng = np.random.default_rng(seed)
    return normalised(rng.choice([-1, 1], (count, int(rng.integers(2, 6)))).astype(np.float32))


def grouped(count: int, seed: int) -> Matrix:
    """Around a few centres, nearly equal within a group, as tokens of one subject are."""
    rng = np.random.default_rng(seed)
    near = drawn(5, 32, seed)[rng.integers(0, 5, count)]
    return normalised(near + np.float32(0.1) * drawn(count, 32, seed + 1))


def opposite(count: int, seed: int) -> Matrix:
    """On a circle, every second one turned round."""
    vectors = drawn(count, 2, seed)
    vectors[::2] *= -1
    return vectors


def spread(count: int, seed: int) -> Matrix:
    """Around one direction, some near it and some far, as token vectors of a model are.

    In one passage in seven, a distance that a merge left behind is updated to the root of a
    negative number.
    """
    rng = np.random.default_rng(seed)
    far = rng.exponential(1, (count, 1)) * rng.standard_normal((count, 16))
    return normalised((rng.standard_normal(16) + far).astype(np.float32))


def holed(count: int, seed: int) -> Matrix:
    """As `repeated`, with rows of zeros, which are as far from themselves as from the others."""
    vectors = repeated(count, seed)
    vectors[np.random.default_rng(seed).random(count) < 0.2] = 0
    return vectors


def rounded(vectors: Matrix) -> Matrix:
    """Cut values to bfloat16, so that lengths are no longer one and many distances are tied."""
    return (vectors.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


KINDS = {
    "random": lambda count, seed: drawn(count, 16, seed),
    "repeated": repeated,
    "lattice": lattice,
    "grouped": grouped,
    "opposite": opposite,
    "spread": spread,
    "holed": holed,
    "coarse": lambda count, seed: rounded(spread(count, seed)),
    "coarse units": lambda count, seed: normalised(rounded(grouped(count, seed))),
}


def equal(vectors: Matrix, wanted: int) -> None:
    labels, sums = by_numba(vectors, wanted)
    expected, total = by_scipy(vectors, wanted)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(sums, total)
    assert (labels.dtype, sums.dtype) == (expected.dtype, total.dtype)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    count=st.integers(2, 140),
    factor=st.sampled_from([1.01, 1.5, 2.0, 2.7, 3.0, 4.0, 5.0, 6.0, 100.0]),
    seed=st.integers(0, 9999),
)
def test_the_clusters_are_those_of_scipy(kind: str, count: int, factor: float, seed: int) -> None:
    equal(KINDS[kind](count, seed), min(max(int(count // factor), 1), count - 1))


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("value", [0, 0.25, -1])
def test_vectors_that_are_all_the_same(count: int, value: float) -> None:
    for wanted in {1, count // 2, count - 1}:
        equal(np.full((count, 4), value, np.float32), wanted)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), count=st.integers(2, 90), seed=st.integers(0, 9999))
def test_products_that_rounding_makes_uneven(kind: str, count: int, seed: int) -> None:
    """A library for matrices may give `x @ y` and `y @ x` last bits that differ."""
    vectors = KINDS[kind](count, seed)
    products = vectors @ vectors.T
    up = np.random.default_rng(seed).integers(-1, 2, products.shape).astype(np.float32)
    uneven = np.nextafter(products, np.where(up == 0, products, 9 * up), dtype=np.float32)
    with patch.object(module, "_products", lambda _: uneven):
        equal(vectors, max(count // 2, 1))


def test_loops_that_would_not_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    merge, cut, add = module.compiled()
    monkeypatch.setattr(
        module, "compiled", lambda: (lambda p: [part[:3] for part in merge(p)], cut, add)
    )
    with pytest.raises(RagibError, match="clustering of 9 token vectors does not end"):
        by_numba(drawn(9, 8, 0), 3)


def test_every_cut_of_one_tree_is_that_of_scipy() -> None:
    for vectors in (drawn(40, 16, 0), lattice(40, 1), np.repeat(drawn(1, 8, 2), 40, axis=0)):
        for wanted in range(1, 40):
            equal(vectors, wanted)


def by_definition(vectors: Matrix, wanted: int) -> set[frozenset[int]]:
    """Merge the nearest two again and again; every distance is taken anew from the formula."""
    clusters = [frozenset([i]) for i in range(len(vectors))]
    products = vectors.astype(np.float64) @ vectors.T
    apart = {frozenset(p): 1 - products[p] for p in itertools.combinations(range(len(vectors)), 2)}
    apart = {frozenset(map(frozenset, ([i] for i in pair))): d for pair, d in apart.items()}
    while len(clusters) > wanted:
        x, y = min(itertools.combinations(clusters, 2), key=lambda pair: apart[frozenset(pair)])
        clusters = [c for c in clusters if c not in (x, y)]
        between = apart[frozenset((x, y))]
        for c in clusters:
            left, right = apart[frozenset((c, x))], apart[frozenset((c, y))]
            square = (len(c) + len(x)) * left**2 + (len(c) + len(y)) * right**2
            square -= len(c) * between**2
            apart[frozenset((c, x | y))] = (square / (len(c) + len(x) + len(y))) ** 0.5
        clusters.append(x | y)
    return set(clusters)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 14), wanted=st.integers(1, 13), seed=st.integers(0, 9999))
def test_the_clusters_are_those_of_the_definition(count: int, wanted: int, seed: int) -> None:
    vectors, wanted = drawn(count, 6, seed), min(wanted, count - 1)
    labels, _ = by_numba(vectors, wanted)
    groups = [frozenset(np.flatnonzero(labels == i).tolist()) for i in range(labels.max() + 1)]
    assert set(groups) == by_definition(vectors, wanted)


def test_passages_pool_to_the_same_bytes_in_several_threads() -> None:
    batches = [[drawn(count, 16, seed) for count in (5, 64, 128)] for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: pool_batch(batch, 2, one_by_one(by_numba)), batches))
    for batch, pooled in zip(batches, found, strict=True):
        expected = pool_batch(batch, 2, one_by_one(by_scipy))
        for one, two in zip(pooled, expected, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])


def test_vectors_need_not_lie_side_by_side_or_be_writable() -> None:
    wide = drawn(40, 32, 5)
    wide.flags.writeable = False
    equal(wide[::2, ::2], 7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("cluster", [by_numba, by_scipy])
def test_vectors_that_are_not_finite_are_refused(cluster: object, value: float) -> None:
    vectors = drawn(9, 8, 3)
    vectors[4, 2] = value
    with pytest.raises(InputError, match="not finite"), np.errstate(invalid="ignore"):
        cluster(vectors, 4)


@pytest.mark.parametrize(("have", "patience", "expected"), [(1, 2, 3), (1, 9, 0), (0, 2, 0)])
def test_loops_are_compiled_when_they_are_there_and_pay(
    monkeypatch: pytest.MonkeyPatch, have: int, patience: int, expected: int
) -> None:
    calls = []
    monkeypatch.setattr(module, "_clustered", 0)
    monkeypatch.setattr(module, "_PATIENCE", patience)
    monkeypatch.setattr(module, "installed", lambda name: bool(have) and name == "numba")
    monkeypatch.setattr(module, "by_numba", lambda *a: calls.append(a) or by_numba(*a))
    vectors = drawn(9, 8, 4)
    results = [ward(vectors, 3) for _ in range(5)]
    assert len(calls) == expected
    for labels, sums in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        np.testing.assert_array_equal(sums, results[0][1])
