from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.indexes.places import pack_places, unpack_places

token = st.tuples(
    st.integers(0, 300),
    st.one_of(st.none(), st.tuples(st.integers(-3, 40), st.integers(1, 30))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(token, max_size=40))
def test_places_come_back(tokens: list[tuple[int, tuple[int, int] | None]]) -> None:
    labels = np.array([label for label, _ in tokens], np.int64)
    spans = np.full((len(tokens), 2), -1, np.int32)
    start = end = 0
    for number, (_, place) in enumerate(tokens):
        if place is not None:
            # Never before the start of the token in front, but perhaps before its end.
            start = max(start, end + place[0])
            end = start + place[1]
            spans[number] = start, end
    found = unpack_places(pack_places(labels, spans), len(tokens))
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], spans)


def test_what_stands_behind_is_left_alone() -> None:
    labels = np.arange(5)
    spans = np.array([(0, 3), (4, 9), (9, 11), (12, 13), (700, 712)], np.int32)
    packed = np.concatenate([pack_places(labels, spans), np.full(9, 255, np.uint8)])
    np.testing.assert_array_equal(unpack_places(packed, 5)[1], spans)


def test_a_token_out_of_order_starts_where_the_one_before_it_does() -> None:
    spans = np.array([(10, 14), (2, 12), (3, 5)], np.int32)
    _, found = unpack_places(pack_places(np.zeros(3, np.int64), spans), 3)
    assert found.tolist() == [[10, 14], [10, 12], [-1, -1]]


def test_text_takes_some_twelve_bits_a_token() -> None:
    lengths = np.tile([4, 2, 9, 3, 5, 1, 7, 12], 15)
    ends = np.cumsum(lengths + 1) - 1
    spans = np.stack([ends - lengths, ends], axis=1).astype(np.int32)
    labels = np.random.default_rng(0).permutation(120) // 2
    assert len(pack_places(labels, spans)) <= 4 + 120 * 11 / 8
