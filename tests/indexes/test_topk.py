import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ragib.indexes.base import TopK
from ragib.indexes.topk import empty, merge, rank, select

# Few distinct values, so that ties are the rule.
SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 3), st.integers(0, 300)),
    elements=st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 1.0, 3.0]),
    fill=st.just(np.float32(0.5)),
)


def slow(line: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    best = sorted((-float(s), i) for i, s in enumerate(line) if s > -np.inf)[:k]
    pad = k - len(best)
    return [i for _, i in best] + [-1] * pad, [-s for s, _ in best] + [-np.inf] * pad


@settings(deadline=None, max_examples=50)
@given(SCORES, st.integers(1, 12))
def test_select_and_rank_agree_with_sorting(scores: np.ndarray, k: int) -> None:
    rows = np.tile(np.arange(scores.shape[1], dtype=np.int64), (len(scores), 1))
    for found in (select(scores, k), rank(rows[:, ::-1], scores[:, ::-1], k)):
        assert found.rows.shape == found.scores.shape == (len(scores), k)
        assert found.rows.dtype == np.int64
        assert found.scores.dtype == np.float32
        for i, line in enumerate(scores):
            assert (found.rows[i].tolist(), found.scores[i].tolist()) == slow(line, k)


@settings(deadline=None, max_examples=50)
@given(SCORES, st.integers(1, 12))
def test_a_floor_leaves_out_what_does_not_exceed_it(scores: np.ndarray, k: int) -> None:
    found = select(scores, k, floor=0)
    for i, line in enumerate(scores):
        expected = slow(np.where(line > 0, line, -np.inf), k)
        assert (found.rows[i].tolist(), found.scores[i].tolist()) == expected


@settings(deadline=None, max_examples=50)
@given(SCORES, st.integers(1, 12), st.integers(0, 300))
def test_merging_parts_is_selecting_from_the_whole(scores: np.ndarray, k: int, cut: int) -> None:
    right = select(scores[:, cut:], k)
    shifted = TopK(np.where(right.rows < 0, -1, right.rows + cut), right.scores)
    merged, whole = merge([select(scores[:, :cut], k), shifted], k), select(scores, k)
    np.testing.assert_array_equal(merged.rows, whole.rows)
    np.testing.assert_array_equal(merged.scores, whole.scores)


def test_nan_is_never_returned() -> None:
    found = rank(np.array([[0, 1, 2]]), np.array([[np.nan, 1, -np.inf]], np.float32), 3)
    assert found.rows.tolist() == [[1, -1, -1]]


def test_empty_is_all_padding() -> None:
    nothing = empty(2, 3)
    assert (nothing.rows == -1).all()
    assert (nothing.scores == -np.inf).all()
