"""Many passages at once: the clusters of the definition; SciPy's where no distances are tied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.errors import InputError
from ragib.indexes import pooling, ward_batch
from ragib.indexes.pooling import normalised, one_by_one, pool_batch
from ragib.indexes.ward import by_scipy
from ragib.indexes.ward_batch import by_torch

Matrix = np.ndarray
Groups = set[frozenset[int]]


def exact(count: int, seed: int, steps: int) -> Matrix:
    """Vectors of few bits: their products are the same however they are summed up.

    With 100 steps distances are hardly ever tied, with 2 nearly all of them are.
    """
    rng = np.random.default_rng(seed)
    spread = rng.integers(1, steps, (count, 1), endpoint=True)
    return (rng.integers(-spread, spread, (count, 16), endpoint=True) / (4 * steps)).astype("f4")


def groups(labels: np.ndarray) -> Groups:
    return {frozenset(np.flatnonzero(labels == i).tolist()) for i in range(labels.max() + 1)}


def by_definition(vectors: Matrix, wanted: int) -> tuple[Groups, float]:
    """Merge the nearest two, the first of several; returns by how much any was nearer as well."""
    apart = np.clip(1 - vectors @ vectors.T, 0, 2).astype(np.float64) ** 2
    np.fill_diagonal(apart, np.inf)
    clusters: list[list[int]] = [[i] for i in range(len(vectors))]
    last, gap = -1.0, np.inf
    while len(clusters) > wanted or apart.min() == last:
        x, y = np.unravel_index(apart.argmin(), apart.shape)
        last = apart[x, y]
        others = np.sort(apart[np.triu_indices(len(apart), 1)])
        if len(others) > 1:
            gap = min(gap, others[1] - others[0])
        n = np.array([len(cluster) for cluster in clusters], np.float64)
        union = (n + n[x]) * apart[x] + (n + n[y]) * apart[y] - n * last
        union /= n + (n[x] + n[y])
        union[y] = np.inf
        apart[y] = apart[:, y] = union
        apart = np.delete(np.delete(apart, x, 0), x, 1)
        clusters[y] += clusters[x]
        del clusters[x]
    return {frozenset(cluster) for cluster in clusters}, gap


passages = st.lists(
    st.tuples(st.integers(2, 40), st.integers(0, 9999), st.sampled_from([1.01, 1.5, 2, 3.3, 50])),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(drawn=passages, steps=st.sampled_from([2, 10, 100]))
def test_the_clusters_are_those_of_the_definition(
    drawn: list[tuple[int, int, float]], steps: int
) -> None:
    batch = [exact(count, seed, steps) for count, seed, _ in drawn]
    wanted = [min(max(int(count // factor), 1), count - 1) for count, _, factor in drawn]
    found = by_torch(batch, wanted)
    assert len(found) == len(batch)
    for (labels, sums), vectors, few in zip(found, batch, wanted, strict=True):
        expected, gap = by_definition(vectors, few)
        assert groups(labels) == expected
        if gap > 1e-9:
            assert groups(by_scipy(vectors, few)[0]) == expected
        assert (labels.dtype, sums.dtype) == (np.int64, np.float32)
        for number, total in enumerate(sums):
            np.testing.assert_allclose(total, vectors[labels == number].sum(axis=0), atol=1e-5)


def test_clusters_are_those_of_scipy_and_numbered_by_their_last_vectors() -> None:
    compared = 0
    for seed in range(20):
        vectors = exact(30, seed, 100)
        labels, sums = by_torch([vectors], [9])[0]
        if by_definition(vectors, 9)[1] > 1e-9:
            assert groups(labels) == groups(by_scipy(vectors, 9)[0])
            compared += 1
        assert len(sums) == labels.max() + 1
        ends = [np.flatnonzero(labels == number)[-1] for number in range(len(sums))]
        assert ends == sorted(ends)
    assert compared >= 15


def test_merges_at_the_distance_of_the_last_are_made_as_well() -> None:
    pairs = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    for few in (7, 6, 5, 4):
        labels, _ = by_torch([pairs], [few])[0]
        assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert groups(labels) == groups(by_scipy(pairs, few)[0])


def test_long_passages_go_in_groups_that_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [3, 50, 2, 20, 20, 7, 49, 2]
    batch = [exact(count, count, 100) for count in counts]
    wanted = [max(count // 3, 1) for count in counts]
    whole = by_torch(batch, wanted)
    held = []
    original = ward_batch._apart
    monkeypatch.setattr(ward_batch, "_DISTANCES", 2 * 21**2)
    monkeypatch.setattr(
        ward_batch, "_apart", lambda *a: held.append(original(*a).numel()) or original(*a)
    )
    for one, two in zip(by_torch(batch, wanted), whole, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_allclose(one[1], two[1], atol=1e-6)
    assert sorted(held)[-3:] == [2 * 21**2, 50**2, 51**2]
    assert by_torch([], []) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    vectors = exact(9, 3, 100)
    vectors[4, 2] = value
    with pytest.raises(InputError, match="not finite"):
        by_torch([exact(5, 0, 9), vectors], [2, 4])


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def on(passages: list[Matrix], wanted: list[int], device: str) -> object:
        asked.append(device)
        return by_torch(passages, wanted)

    monkeypatch.setattr(pooling, "by_torch", on)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    batch = [normalised(exact(count, count, 100)) for count in (12, 1, 30)]
    expected = pool_batch(batch, 2, one_by_one(by_scipy))
    pool_batch(batch, 2)
    assert asked == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for (vectors, labels), (means, numbers) in zip(pool_batch(batch, 2), expected, strict=True):
        assert groups(labels) == groups(numbers)
        for one, label in zip(vectors, range(len(vectors)), strict=True):
            other = means[numbers[np.flatnonzero(labels == label)[0]]]
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert asked == ["cuda"]
