"""An aligned span is verbatim in its passage, and says what was written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.align import LEAST_WORDS, Source, align

BRIDGE = "The old bridge was not built by the first king in 1900. It crosses the\n river at night."
TOWER = "A red light burns on the tower. The tower of Paris is old."
PASSAGES = [BRIDGE, TOWER]
WORDS = (
    "The tower of Paris, was built by a king. Straße İstanbul ǅ \u00a0 \n no not 12 塔 ...".split(
        " "
    )
)
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=12).map(" ".join)


def folded(text: str) -> str:
    return " ".join(text.casefold().split())


def words(text: str) -> list[str]:
    return re.findall(r"\w+", folded(text))


def longest_run(a: list[str], b: list[str]) -> int:
    """Compare every pair of places."""
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            size = 0
            while i + size < len(a) and j + size < len(b) and a[i + size] == b[j + size]:
                size += 1
            best = max(best, size)
    return best


@given(
    written=st.lists(TEXTS, max_size=4),
    passages=st.lists(TEXTS, max_size=3),
    share=st.floats(0.1, 1),
)
def test_an_aligned_span_is_verbatim_in_its_passage(written, passages, share) -> None:
    found = align(written, passages, share)
    assert len(found) == len(written)
    for text, source in zip(written, found, strict=True):
        if source is None:
            runs = [longest_run(words(text), words(passage)) for passage in passages]
            assert max(runs, default=0) < max(LEAST_WORDS, share * len(words(text)))
            continue
        span = passages[source.passage][source.start : source.end]
        assert span == span.strip() != ""
        if source.share == 1.0 and folded(text) == folded(span):
            continue
        run = longest_run(words(text), words(span))
        assert run >= LEAST_WORDS
        assert source.share == pytest.approx(run / len(words(text)))
        assert source.share >= share


@given(passage=TEXTS, data=st.data())
def test_words_copied_out_of_a_passage_are_found_whatever_their_case_and_space(
    passage, data
) -> None:
    pieces = passage.split()
    first = data.draw(st.integers(0, len(pieces)))
    text = "\n ".join(pieces[first : data.draw(st.integers(first, len(pieces)))])
    [source] = align(
        [text.upper() if text.upper().casefold() == text.casefold() else text], [passage]
    )
    if not text:
        assert source is None
        return
    assert source is not None
    assert source.share == 1.0
    assert folded(passage[source.start : source.end]) == folded(text)


def test_a_copy_is_its_own_span() -> None:
    written = ["it crosses the river AT NIGHT.", "The tower of Paris is old."]
    first, second = align(written, PASSAGES)
    assert first is not None
    assert BRIDGE[first.start : first.end] == "It crosses the\n river at night."
    assert second == Source(1, TOWER.index("The tower"), len(TOWER), 1.0)


def test_a_part_of_a_word_is_no_copy() -> None:
    assert align(["art", "The"], ["A party. Then The end."]) == [None, Source(0, 14, 17, 1.0)]


def test_a_changed_sentence_is_the_whole_sentence_it_comes_from() -> None:
    [source] = align(["The bridge was built by the first king in 1900."], PASSAGES)
    assert source is not None
    assert BRIDGE[source.start : source.end] == BRIDGE.split(" It")[0]
    assert source.share == pytest.approx(0.7)  # "built by the first king in 1900"


def test_what_stands_nowhere_has_no_source() -> None:
    invented = "The bridge was designed in London by a queen."
    assert align([invented, "", "..."], PASSAGES) == [None, None, None]
    assert align([invented], []) == [None]


def test_the_threshold_decides_how_much_must_be_found() -> None:
    text = ["The light burns on a tower, says he."]  # 3 of 8 words in one run
    assert align(text, PASSAGES) == [None]
    assert align(text, PASSAGES, 0.3) == [Source(1, 0, TOWER.index(" The tower"), 3 / 8)]


def test_the_longest_run_wins_then_the_first_passage() -> None:
    passages = [
        "He built it by the river.",
        "She built it by the river in May.",
        "built it by the river in May",
    ]
    [source] = align(["They built it by the river in May."], passages)
    assert source is not None
    assert source.passage == 1
