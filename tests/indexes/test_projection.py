from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.errors import InputError
from ragib.indexes.projection import fit_projection


@given(st.integers(0, 99), st.integers(1, 5))
def test_no_projection_of_the_rank_keeps_more(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((40, 6)) * rng.random(6) + rng.random(6)).astype(np.float32)
    projection = fit_projection(vectors, dim)
    assert projection.shape == (6, dim)
    assert projection.dtype == np.float32
    np.testing.assert_allclose(projection.T @ projection, np.eye(dim), atol=1e-5)
    values = np.linalg.svd(vectors, compute_uv=False)
    kept = float(((vectors @ projection) ** 2).sum())
    np.testing.assert_allclose(kept, (values[:dim] ** 2).sum(), rtol=1e-4)


def test_equal_samples_give_equal_projections() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    first = fit_projection(vectors, 3)
    np.testing.assert_array_equal(first, fit_projection(vectors.copy(), 3))
    assert (first[np.abs(first).argmax(axis=0), np.arange(3)] > 0).all()


@pytest.mark.parametrize(
    ("vectors", "dim", "message"),
    [
        (np.zeros((0, 8), np.float32), 4, "empty"),
        (np.ones((3, 8), np.float32), 8, "cannot be reduced"),
        (np.full((3, 8), np.nan, np.float32), 4, "not finite"),
    ],
)
def test_bad_samples_are_refused(vectors: np.ndarray, dim: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_projection(vectors, dim)
