from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from ragib.errors import InputError
from ragib.indexes.pooling import normalised, pool, pool_batch


def units(count: int, dim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return normalised(rng.standard_normal((count, dim)).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    factor=st.sampled_from([1.0, 1.5, 2.0, 3.0, 6.0, 100.0]),
    seed=st.integers(0, 9999),
)
def test_the_library_pools_the_same(count: int, factor: float, seed: int) -> None:
    vectors = units(count, 16, seed)
    pooled, labels = pool(vectors, factor)
    expected = HierarchicalTokenPooling(factor).pool_one(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(pooled, expected, atol=1e-5)
    for number, vector in enumerate(pooled):
        mean = normalised(vectors[labels == number].sum(axis=0, keepdims=True))[0]
        np.testing.assert_allclose(vector, mean, atol=1e-5)


def test_the_first_token_stays_alone() -> None:
    pooled, labels = pool(np.repeat(units(1, 8, 0), 9, axis=0), 4)
    assert labels[0] == 0
    assert (labels[1:] > 0).all()
    assert len(pooled) <= 3


def test_a_factor_of_one_changes_nothing() -> None:
    vectors = units(7, 8, 1)
    pooled, labels = pool(vectors, 1)
    np.testing.assert_array_equal(pooled, vectors)
    assert labels.tolist() == list(range(7))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_passages_are_left_alone(count: int) -> None:
    vectors = units(count, 8, 2)
    pooled, labels = pool(vectors, 3)
    np.testing.assert_array_equal(pooled, vectors)
    assert labels.tolist() == list(range(count))


@pytest.mark.parametrize("factor", [1, 1.3, 2, 2.5, 6])
def test_a_batch_is_its_passages_one_by_one(factor: float) -> None:
    passages = [units(count, 8, count) for count in (9, 0, 1, 2, 3, 40, 7)]
    for (vectors, labels), passage in zip(pool_batch(passages, factor), passages, strict=True):
        alone, numbers = pool(passage, factor)
        np.testing.assert_array_equal(vectors, alone)
        np.testing.assert_array_equal(labels, numbers)
        assert labels.dtype == np.int64
    assert pool_batch([], factor) == []


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors = units(9, 8, 3)
    vectors[4, 2] = np.nan
    with pytest.raises(InputError, match="not finite"):
        pool(vectors, 2)


def test_rows_of_zeros_stay_zero() -> None:
    np.testing.assert_array_equal(normalised(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))
