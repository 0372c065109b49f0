from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.selection import (
    MAX_WORDS,
    ScoredSentence,
    select,
    sentence_spans,
    sentences_of,
)
from ragib.errors import RagibError
from ragib.text import count_words
from ragib.types import Compressed, Passage, Question

SCRIPTS = st.sampled_from(
    [
        "The tower was built in 1889.",
        "It was not!",
        "你好。世界。",
        "мир труд май.",
        "كيف حالك؟",
        "Dr. No",
        "\x00\x1b[31m",
        "\u2028",
        "🇫🇷👩‍👩‍👧",
        "\n\n",
        " ",
        "\t",
    ]
)
TEXTS = st.lists(SCRIPTS | st.text(max_size=20), max_size=12).map("".join)
SCORES = st.integers(0, 4).map(float) | st.floats(-10, 10)


def question(*texts: str) -> Question:
    return Question("q", "?", tuple(Passage(f"p{i}", f"d{i}", t) for i, t in enumerate(texts)))


def scored(q: Question, *scores: float, tokens: int | None = None) -> list[ScoredSentence]:
    found = sentences_of(q)
    assert len(found) == len(scores)
    return [ScoredSentence(s, score, tokens) for s, score in zip(found, scores, strict=True)]


@st.composite
def scored_questions(draw: st.DrawFn) -> tuple[Question, list[ScoredSentence]]:
    q = question(*draw(st.lists(TEXTS, max_size=4)))
    items = [ScoredSentence(s, draw(SCORES), draw(st.integers(1, 9))) for s in sentences_of(q)]
    return q, items


def texts(result: Compressed) -> list[str]:
    return [evidence.text for evidence in result.evidence]


@given(TEXTS)
def test_sentence_spans_cover_all_that_is_not_space(text: str) -> None:
    spans = sentence_spans(text)
    covered = {i for start, end in spans for i in range(start, end)}
    assert sum(end - start for start, end in spans) == len(covered)
    assert all(text[i].isspace() for i in set(range(len(text))) - covered)
    assert all(0 < count_words(text[start:end]) <= MAX_WORDS for start, end in spans)
    assert spans == sorted(spans)


def test_a_text_without_full_stops_is_cut() -> None:
    text = "cell " * (2 * MAX_WORDS + 1)
    assert [count_words(text[s:e]) for s, e in sentence_spans(text)] == [MAX_WORDS, MAX_WORDS, 1]


@given(
    scored_questions(),
    st.none() | st.floats(0.01, 1),
    st.none() | st.integers(1, 30),
    st.none() | st.floats(-5, 5),
    st.randoms(use_true_random=False),
)
def test_what_holds_of_every_selection(pair, keep, budget, threshold, random) -> None:
    q, items = pair
    result = select(q, items, keep=keep, budget=budget, threshold=threshold)

    by_id = {p.id: p for p in q.passages}
    order = {p.id: i for i, p in enumerate(q.passages)}
    places = [(order[e.passage_id], e.start, e.end) for e in result.evidence]
    assert all(by_id[e.passage_id].text[e.start : e.end] == e.text for e in result.evidence)
    assert places == sorted(places)
    for (p, _, end), (following, start, _) in pairwise(places):
        assert p != following or end <= start

    out = [(d.passage_id, d.start, d.end) for d in result.dropped]
    both = [(e.passage_id, e.start, e.end) for e in result.evidence] + out
    spans = [(s.sentence.passage, s.sentence.start, s.sentence.end) for s in items]
    assert sorted((order[p], s, e) for p, s, e in both) == sorted(spans)
    assert all(d.reason for d in result.dropped)

    assert result.words_in == sum(count_words(p.text) for p in q.passages)
    assert 0 <= result.words_kept <= result.words_in
    assert result.abstained == (not result.evidence) == (result.words_kept == 0)
    if keep is not None and len(result.evidence) > 1:
        assert result.words_kept <= math.ceil(keep * result.words_in + 1e-9)
    if budget is not None:
        kept = {(order[e.passage_id], e.start) for e in result.evidence}
        used = [s.tokens for s in items if (s.sentence.passage, s.sentence.start) in kept]
        assert sum(used) <= budget
    if threshold is not None:
        assert all(e.score >= threshold for e in result.evidence)

    random.shuffle(items)
    assert select(q, items, keep=keep, budget=budget, threshold=threshold) == result


@given(scored_questions(), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_share_never_keeps_fewer_words(pair, one, other) -> None:
    q, items = pair
    less, more = (select(q, items, keep=keep) for keep in sorted((one, other)))
    assert less.words_kept <= more.words_kept


@given(scored_questions(), st.floats(-5, 5), st.floats(-5, 5))
def test_a_lower_threshold_keeps_all_that_a_higher_one_keeps(pair, one, other) -> None:
    q, items = pair
    low, high = (select(q, items, threshold=threshold) for threshold in sorted((one, other)))
    assert set(high.evidence) <= set(low.evidence)


def test_the_best_that_fit_are_kept_in_the_order_of_the_text() -> None:
    q = question("One two. Three four five.", "Six seven.")
    result = select(q, scored(q, 0.2, 0.9, 0.5), keep=5 / 7)
    assert texts(result) == ["Three four five.", "Six seven."]
    assert (result.words_in, result.words_kept) == (7, 5)
    assert [d.reason for d in result.dropped] == ["over the share of 0.714286 of the words"]


def test_a_sentence_that_does_not_fit_is_passed_over() -> None:
    q = question("One two. Three four five six. Seven.")
    assert texts(select(q, scored(q, 3, 2, 1), keep=3 / 7)) == ["One two.", "Seven."]


def test_the_best_sentence_is_kept_alone_when_it_is_longer_than_the_share() -> None:
    q = question("One two three four. Five.")
    assert texts(select(q, scored(q, 2, 1), keep=0.2)) == ["One two three four."]


def test_a_share_is_taken_as_the_decimal_it_is_written_as() -> None:
    q = question(" ".join(f"W{i}." for i in range(100)))
    result = select(q, scored(q, *range(100)), keep=0.29)
    assert result.words_kept == 29


def test_a_budget_is_hard() -> None:
    q = question("One two. Three.")
    items = [ScoredSentence(s, 1.0, t) for s, t in zip(sentences_of(q), (9, 2), strict=True)]
    assert texts(select(q, items, budget=5)) == ["Three."]
    nothing = select(q, items, budget=1)
    assert nothing.abstained
    assert {d.reason for d in nothing.dropped} == {"over the budget of 1 tokens"}


def test_below_the_threshold_nothing_is_kept() -> None:
    q = question("One two. Three.")
    result = select(q, scored(q, 0.12, 0.2999), threshold=0.3)
    assert result.abstained
    assert not result.evidence
    assert [d.reason for d in result.dropped] == [
        "score 0.12 below threshold 0.30",
        "score 0.2999 below threshold 0.3000",
    ]


def test_ties_go_to_the_earlier_passage_then_to_the_earlier_sentence() -> None:
    q = question("One. Two.", "Three.")
    assert texts(select(q, scored(q, 1, 1, 1), keep=0.34)) == ["One."]
    assert texts(select(q, scored(q, 0, 1, 1), keep=0.34)) == ["Two."]


def test_words_that_sentences_cut_are_shared_out() -> None:
    q = question("你好。世界。再见。")
    result = select(q, scored(q, 1, 3, 2), keep=0.7)
    assert texts(result) == ["世界。", "再见。"]
    assert (result.words_in, result.words_kept) == (1, 1)


@pytest.mark.parametrize("q", [question(), question(""), question(" \n", "")])
def test_no_passages_and_empty_ones(q: Question) -> None:
    result = select(q, [], keep=0.5)
    assert result == Compressed("q", (), (), 0, 0, abstained=True)


def test_fifty_thousand_words_in_one_passage() -> None:
    q = question("The quick fox saw item number so and so. " * 100 + "word. other " * 24_550)
    items = [ScoredSentence(s, -i) for i, s in enumerate(sentences_of(q))]
    result = select(q, items, keep=0.01)
    assert result.words_in == 50_000
    assert 0 < result.words_kept <= 500


def test_a_score_that_is_not_a_number_is_refused() -> None:
    q = question("One.")
    with pytest.raises(RagibError, match="question q: the score of sentence p0:0-4 is not a num"):
        select(q, scored(q, math.nan))


@pytest.mark.parametrize(
    "limits", [{"keep": 0.0}, {"keep": 1.1}, {"budget": 0}, {"threshold": math.nan}, {"budget": 3}]
)
def test_limits_out_of_range(limits) -> None:
    q = question("One.")
    with pytest.raises(ValueError, match=r"keep|budget|threshold"):
        select(q, scored(q, 1), **limits)


def test_sentences_that_overlap_or_stand_outside_are_refused() -> None:
    q = question("One two three.")
    [whole] = sentences_of(q)
    part = type(whole)(0, 4, 7)
    with pytest.raises(ValueError, match="overlap"):
        select(q, [ScoredSentence(part, 1), ScoredSentence(whole, 1)])
    with pytest.raises(ValueError, match="not inside"):
        select(q, [ScoredSentence(type(whole)(0, 4, 99), 1)])
