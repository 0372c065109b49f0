from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.repeats import Kept
from ragib.compressor.selection import ScoredSentence, select, sentences_of
from ragib.types import Passage, Question


def repeated(first: str, second: str) -> bool:
    kept = Kept()
    kept.add(Passage("a", "a", first), 0, len(first))
    return kept.repeated_by(Passage("b", "b", second), 0, len(second)) == f"a:0-{len(first)}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It was built in 1889.", "It was built in 1889."),
        ("It was  built\nin 1889.", "it WAS built in 1889"),
        ("The tower, built in 1889, is tall.", "The tower (built in 1889) is tall!"),
        ("Yes.", "yes"),
        ("—", "—"),
        ("你好。", "你好"),
    ],
)
def test_the_same_but_for_case_space_and_punctuation_repeats(first: str, second: str) -> None:
    assert repeated(first, second)
    assert repeated(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It was not built in 1889.", "It was built in 1889."),
        ("In 2013 the profit of the firm rose to 5.", "In 2014 the profit of the firm rose to 5."),
        ("Tom beat Jim.", "Jim beat Tom."),
        ("The long bridge is old.", "The bridge is old."),
        ("—", "…"),
    ],
)
def test_another_word_or_another_order_does_not(first: str, second: str) -> None:
    assert not repeated(first, second)
    assert not repeated(second, first)


@given(st.text(max_size=40), st.text(max_size=40))
def test_repeating_is_mutual(first: str, second: str) -> None:
    assert repeated(first, second) == repeated(second, first)


def test_a_piece_of_a_kept_place_in_the_document_repeats_it() -> None:
    document = "x" * 250 + " The tower was built by Eiffel in 1889 " + "y" * 300
    kept = Kept()
    kept.add(Passage("one", "doc", document[200:400], start=200, end=400), 51, 90)
    piece = Passage("two", "doc", document[260:400], start=260, end=400)
    elsewhere = Passage("two", "other", document[260:400], start=260, end=400)
    assert kept.repeated_by(piece, 0, 20) == "one:51-90"
    assert kept.repeated_by(piece, 0, 31) is None
    assert kept.repeated_by(elsewhere, 0, 20) is None


def test_select_drops_repeats_across_passages_and_takes_the_next_instead() -> None:
    texts = ("The tower is old.", "the tower is old! It is made of iron.")
    q = Question("q", "?", tuple(Passage(f"p{i}", f"p{i}", t) for i, t in enumerate(texts)))
    scores = (0.9, 0.8, 0.1)
    scored = [ScoredSentence(s, score) for s, score in zip(sentences_of(q), scores, strict=True)]
    result = select(q, scored, keep=0.75)
    assert [e.text for e in result.evidence] == ["The tower is old.", "It is made of iron."]
    assert [(d.passage_id, d.reason) for d in result.dropped] == [("p1", "repeats p0:0-17")]


def test_repeats_are_kept_where_they_are_wanted() -> None:
    passages = (Passage("a", "a", "It was old. It fell."), Passage("b", "b", "It was old."))
    question = Question("q", "old?", passages)
    scored = [ScoredSentence(sentence, 1.0) for sentence in sentences_of(question)]
    assert len(select(question, scored).evidence) == 2
    assert len(select(question, scored, repeats=True).evidence) == 3
