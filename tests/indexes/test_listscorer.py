"""Term by term in compiled loops and in NumPy: the same to the last bit, and what sorting finds."""

import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.indexes import accumulate, listscorer
from ragib.indexes.base import Mask, TopK
from ragib.indexes.lists import TermLists, as_they_are
from ragib.indexes.listscorer import ListScorer
from ragib.indexes.postings import Postings

WORDS = ("aa", "bb", "cc", "dd", "ee")
# Few distinct weights, all of them sums of powers of two: ties are the rule, and sums are exact.
WEIGHTS = st.sampled_from([0.25, 0.5, 0.75, 1.0])
ROW = st.dictionaries(st.sampled_from(WORDS), WEIGHTS, max_size=5)
BAG = st.dictionaries(st.sampled_from((*WORDS, "unknown")), WEIGHTS, max_size=6)


def postings(rows: Sequence[Mapping[str, float]]) -> Postings:
    terms = sorted({term for row in rows for term in row})
    lists = [[(i, row[term]) for i, row in enumerate(rows) if term in row] for term in terms]
    flat = [pair for one in lists for pair in one]
    return Postings(
        terms,
        np.cumsum([0, *map(len, lists)], dtype=np.int64),
        np.array([row for row, _ in flat], np.int32),
        np.array([weight for _, weight in flat], np.float32),
        np.array([len(row) for row in rows], np.int32),
    )


def slow(
    rows: Sequence[Mapping[str, float]], bag: Mapping[str, float], k: int, flags: Sequence[bool]
) -> TopK:
    scores = [sum(weight * row.get(term, 0) for term, weight in bag.items()) for row in rows]
    best = sorted((-s, i) for i, s in enumerate(scores) if s > 0 and flags[i])[:k]
    pad = k - len(best)
    return TopK(
        np.array([i for _, i in best] + [-1] * pad),
        np.array([-s for s, _ in best] + [-np.inf] * pad, np.float32),
    )


@settings(deadline=None, max_examples=150)
@given(
    segments=st.lists(st.lists(ROW, max_size=150), min_size=1, max_size=3),
    bags=st.lists(BAG, max_size=4),
    k=st.integers(1, 200),
    filtered=st.booleans(),
    data=st.data(),
)
def test_what_is_found_is_what_sorting_all_scores_gives(
    segments: list[list[dict[str, float]]],
    bags: list[dict[str, float]],
    k: int,
    filtered: bool,
    data: st.DataObject,
    monkeypatch_module: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("numba")
    rows = [row for segment in segments for row in segment]
    flags = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    alive = np.array(data.draw(flags), bool)
    allowed: Mask | None = np.array(data.draw(flags), bool) if filtered else None
    lists = TermLists([postings(segment) for segment in segments], alive, as_they_are)
    slowly = ListScorer(lists, patience=np.inf)(bags, k, allowed)
    fast = ListScorer(lists, patience=-1)(bags, k, allowed)
    np.testing.assert_array_equal(fast.rows, slowly.rows)
    np.testing.assert_array_equal(fast.scores, slowly.scores)
    for i, bag in enumerate(bags):
        expected = slow(rows, bag, k, alive if allowed is None else alive & allowed)
        np.testing.assert_array_equal(fast.rows[i], expected.rows)
        np.testing.assert_array_equal(fast.scores[i], expected.scores)


@pytest.fixture(scope="module")
def monkeypatch_module():
    """Windows of two blocks, so that the rows of an example are in several of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listscorer, "WINDOW", 128)
        yield patch


def test_a_window_that_no_list_reaches(monkeypatch_module: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    rows: list[dict[str, float]] = [{} for _ in range(700)]
    rows[3], rows[699] = {"aa": 1.0}, {"aa": 1.0, "bb": 0.5}
    lists = TermLists([postings(rows)], np.ones(700, bool), as_they_are)
    found = ListScorer(lists, patience=-1)([{"bb": 1.0, "aa": 1.0}], 3, None)
    assert found.rows.tolist() == [[699, 3, -1]]
    assert found.scores.tolist() == [[1.5, 1.0, -np.inf]]


def test_a_process_is_patient_before_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    calls: list[int] = []
    loop = accumulate.compiled()

    def counted(*arguments: object) -> int:
        calls.append(1)
        return loop(*arguments)

    monkeypatch.setattr(listscorer, "compiled", lambda: counted)
    monkeypatch.setattr(listscorer, "_answered", 0)
    lists = TermLists([postings([{"aa": 1.0}])], np.ones(1, bool), as_they_are)
    scorer = ListScorer(lists, patience=2)
    for expected in (0, 0, 1, 2):
        assert scorer([{"aa": 1.0}], 1, None).rows.tolist() == [[0]]
        assert len(calls) == expected
    monkeypatch.setattr(listscorer, "installed", lambda _: False)
    assert ListScorer(lists, patience=2)([{"aa": 1.0}], 1, None).rows.tolist() == [[0]]
    assert len(calls) == 2


def test_lists_are_made_once_and_unknown_terms_take_no_room() -> None:
    rows = [{"aa": 1.0}, {"aa": 0.5, "bb": 1.0}]
    lists = TermLists([postings(rows), postings(rows)], np.array([1, 0, 1, 1], bool), as_they_are)
    assert lists.find("zz") is None
    found = lists.find("aa")
    assert found is not None and lists.find("aa") is found
    assert lists.rows[found.start : found.stop].tolist() == [0, 2, 3]
    assert lists.weights[found.start : found.stop].tolist() == [1, 1, 0.5]
    other = lists.find("bb")
    assert other is not None and (other.start, other.stop) == (3, 4)
    assert lists.find("cc") is None


def test_words_are_cut_without_importing_a_compiler() -> None:
    code = (
        "import sys; from ragib.indexes.terms import terms; assert terms('the cats', 'english') "
        "== ['cat']; sys.exit(bool({'numba', 'scipy', 'bm25s'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
