from hypothesis import given
from hypothesis import strategies as st

from ragib.generators.stopping import ends_at, until

pieces = st.lists(st.text("ab\n", max_size=4), max_size=8)
stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(pieces, stops)
def test_pieces_end_where_the_whole_text_would(parts, stop):
    text = "".join(parts)
    ends = [text.index(word) for word in stop if word in text]
    assert ends_at(text, stop) == (min(ends) if ends else None)
    assert "".join(until(parts, stop)) == text[: min(ends, default=len(text))]


def test_only_what_may_become_a_stop_string_is_held_back():
    assert list(until(["one\n", "two\n\n", "three"], ["\n\n"])) == ["one", "\ntwo"]
    assert list(until(["a\n", "b"], [])) == ["a\n", "b", ""]


def test_nothing_is_read_past_the_stop_string():
    source = iter(["a.", "b"])
    assert list(until(source, ["."])) == ["a"]
    assert next(source) == "b"
