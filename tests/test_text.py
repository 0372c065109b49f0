from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.text import batched, count_words, one_line, sentences, words

ODD = st.sampled_from(
    [
        "J. F.\u00a0K.",
        "\u3000",
        "\u2028",
        "\x85",
        "\ud800",
        "\x00",
        "。",
        "😀",
        "e\u0301",
        ". ",
        "\n\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(ODD, st.text(max_size=5)), max_size=30).map("".join))
def test_sentences_are_ordered_stripped_and_complete(text: str) -> None:
    end = 0
    covered: set[int] = set()
    for start, stop in sentences(text):
        assert end <= start < stop <= len(text)
        assert text[start:stop] == text[start:stop].strip()
        covered.update(range(start, stop))
        end = stop
    assert all(char.isspace() or at in covered for at, char in enumerate(text))


@pytest.mark.parametrize(
    "space", ["\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000"]
)
def test_initials_beside_wide_spaces(space: str) -> None:
    text = f"John{space}F. Kennedy spoke.{space}A.{space}B. left. End."
    spans = sentences(text)
    assert spans[0][0] == 0
    assert text[slice(*spans[-1])] == "End."


def test_offsets_count_characters_not_bytes() -> None:
    text = "Hi 😀 é. 日本語。次の文。 e\u0301! Last 👩\u200d👧 one."
    assert [text[start:end] for start, end in sentences(text)] == [
        "Hi 😀 é.",
        "日本語。",
        "次の文。",
        "e\u0301!",
        "Last 👩\u200d👧 one.",
    ]


def test_blank_lines_end_sentences() -> None:
    text = "A heading\n\nDr. Smith came. He left\r\n\r\nend"
    assert [text[start:end] for start, end in sentences(text)] == [
        "A heading",
        "Dr. Smith came.",
        "He left",
        "end",
    ]


def test_words() -> None:
    assert words(" a  bc\n") == [(1, 2), (4, 6)]
    assert count_words(" a  bc\n") == 2
    assert one_line(" a  b\n\tc ") == "a b c"
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_a_full_stop_inside_a_name_ends_no_sentence() -> None:
    text = "Call tempfile.TemporaryFile() here. Then collections.Counter."
    assert [text[a:b] for a, b in sentences(text)] == [
        "Call tempfile.TemporaryFile() here.",
        "Then collections.Counter.",
    ]
