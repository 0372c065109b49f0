import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import KINDS, Kind
from ragib.errors import ConfigError
from ragib.indexes.base import TopK
from ragib.indexes.hybrid import fuse_convex, fuse_rrf
from tests.oracle.fusion import convex, reciprocal_rank

RANKED = st.dictionaries(
    st.integers(0, 9), st.sampled_from([-0.5, 0.0, 0.25, 1.0, 7.5]), max_size=8
).map(lambda scores: sorted(scores.items(), key=lambda item: (-item[1], item[0])))
LISTS = st.dictionaries(st.sampled_from(KINDS), RANKED, min_size=1, max_size=3)


def top(ranked: list[tuple[int, float]], width: int) -> TopK:
    pad = width - len(ranked)
    return TopK(
        np.array([[row for row, _ in ranked] + [-1] * pad], np.int64).reshape(1, width),
        np.array([[score for _, score in ranked] + [-np.inf] * pad], np.float32).reshape(1, width),
    )


def check(found: TopK, expected: dict[int, float], k: int) -> None:
    assert found.rows.shape == found.scores.shape == (1, k)
    best = sorted((-np.float32(score), row) for row, score in expected.items())[:k]
    returned = [int(row) for row in found.rows[0] if row >= 0]
    assert len(returned) == len(set(returned)) == len(best)
    np.testing.assert_allclose(found.scores[0, : len(best)], [-s for s, _ in best], atol=1e-6)
    assert (found.scores[0, len(best) :] == -np.inf).all()
    for row, score in zip(returned, found.scores[0], strict=False):
        assert score == pytest.approx(expected[row], abs=1e-6)


@settings(deadline=None)
@given(
    lists=LISTS,
    weights=st.dictionaries(st.sampled_from(KINDS), st.sampled_from([0.25, 1.0, 3.0])),
    k=st.integers(1, 12),
    width=st.integers(8, 10),
)
def test_convex_agrees_with_the_oracle(
    lists: dict[Kind, list[tuple[int, float]]], weights: dict[Kind, float], k: int, width: int
) -> None:
    results = {kind: top(ranked, width) for kind, ranked in lists.items()}
    check(fuse_convex(results, weights, k), convex(lists, weights), k)


@settings(deadline=None)
@given(lists=LISTS, k=st.integers(1, 12), constant=st.sampled_from([1, 60]))
def test_reciprocal_rank_agrees_with_the_oracle(
    lists: dict[Kind, list[tuple[int, float]]], k: int, constant: int
) -> None:
    results = {kind: top(ranked, 8) for kind, ranked in lists.items()}
    check(fuse_rrf(results, k, constant), reciprocal_rank(lists, constant), k)


def test_queries_are_fused_one_by_one() -> None:
    first, second = top([(1, 3.0), (2, 1.0)], 2), top([(7, 0.5)], 2)
    both = TopK(np.vstack([first.rows, second.rows]), np.vstack([first.scores, second.scores]))
    found = fuse_convex({"dense": both}, {}, 2)
    assert found.rows.tolist() == [[1, 2], [7, -1]]
    assert found.scores.tolist() == [[1.0, 0.0], [1.0, -np.inf]]


def test_equal_sums_go_to_the_smaller_row() -> None:
    results: dict[Kind, TopK] = {"dense": top([(9, 1.0)], 1), "sparse": top([(4, 20.0)], 1)}
    assert fuse_convex(results, {}, 2).rows.tolist() == [[4, 9]]
    assert fuse_rrf(results, 2).rows.tolist() == [[4, 9]]


def test_a_kind_without_weight_decides_nothing() -> None:
    results: dict[Kind, TopK] = {
        "dense": top([(1, 2.0), (2, 1.0)], 2),
        "sparse": top([(2, 9.0), (1, 1.0)], 2),
    }
    assert fuse_convex(results, {"dense": 0}, 2).rows.tolist() == [[2, 1]]


@pytest.mark.parametrize("weights", [{"dense": -1}, {"dense": float("nan")}, {"dense": 0}])
def test_senseless_weights_are_refused(weights: dict[Kind, float]) -> None:
    with pytest.raises(ConfigError, match=r"retriever\.weights"):
        fuse_convex({"dense": top([(1, 1.0)], 1)}, weights, 1)
