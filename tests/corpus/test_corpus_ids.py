from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragib.corpus.ids import SeenIds


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3)))
def test_it_is_a_set(ids: list[str]) -> None:
    seen, oracle = SeenIds(), set[str]()
    for id in ids:
        assert seen.add(id) == (id not in oracle)
        oracle.add(id)
    assert len(seen) == len(oracle)


def test_it_grows() -> None:
    seen = SeenIds()
    assert all(seen.add(str(number)) for number in range(20_000))
    assert not any(seen.add(str(number)) for number in range(20_000))
    assert len(seen) == 20_000
