from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.base import Compressor
from ragib.compressor.bm25_sentence import K1, B, BM25Sentence, bm25
from ragib.compressor.embedding_sentence import EmbeddingSentence
from ragib.compressor.none import KeepAll
from ragib.compressor.truncate import Truncate
from ragib.config import EncoderConfig
from ragib.encoders import Encoder, load_encoder
from ragib.text import count_words
from ragib.types import Compressed, Passage, Question

VOCABULARY = "tower bridge river moon gold red by".split()
TERMS = st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join)
TEXTS = st.lists(TERMS.map(lambda t: f"{t}. ") | st.text(max_size=9), max_size=6).map("".join)


def question(*texts: str, asks: str = "who built the iron tower?") -> Question:
    return Question("q", asks, tuple(Passage(f"p{i}", f"p{i}", t) for i, t in enumerate(texts)))


def count_pieces(texts: Sequence[str]) -> list[int]:
    """Tokens of four characters."""
    return [sum(math.ceil(len(word) / 4) for word in text.split()) for text in texts]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


def texts_of(result: Compressed) -> list[str]:
    return [evidence.text for evidence in result.evidence]


def check(q: Question, result: Compressed) -> None:
    """What holds of every result of every compressor."""
    by_id = {p.id: p.text for p in q.passages}
    spans = [(e.passage_id, e.start, e.end) for e in result.evidence]
    spans += [(d.passage_id, d.start, d.end) for d in result.dropped]
    for text_of, text in by_id.items():
        seen = [i for p, s, e in spans if p == text_of for i in range(s, e)]
        assert len(seen) == len(set(seen))
        assert all(text[i].isspace() for i in set(range(len(text))) - set(seen))
    assert all(by_id[e.passage_id][e.start : e.end] == e.text for e in result.evidence)
    assert result.words_in == sum(map(count_words, by_id.values()))
    assert result.words_kept <= result.words_in
    assert result.abstained == (not result.evidence)


@given(st.lists(TEXTS, max_size=3))
@pytest.mark.parametrize(
    "compressor",
    [
        KeepAll(),
        Truncate(keep=0.3),
        Truncate(budget=7, count_tokens=count_pieces),
        BM25Sentence(keep=0.3),
        BM25Sentence(budget=7, count_tokens=count_pieces),
        BM25Sentence(threshold=0.5),
    ],
    ids=repr,
)
def test_spans_are_verbatim_and_cover_the_text(compressor: Compressor, texts: list[str]) -> None:
    q = question(*texts)
    [result] = compressor.compress([q])
    check(q, result)
    assert compressor.compress([q, q]) == [result, result]


@pytest.mark.parametrize("compressor", [KeepAll(), Truncate(keep=0.5), BM25Sentence(keep=0.5)])
def test_no_questions_no_passages_and_empty_passages(compressor: Compressor) -> None:
    assert compressor.compress([]) == []
    for q in (question(), question(""), question(" \n", "")):
        assert compressor.compress([q]) == [Compressed("q", (), (), 0, 0, abstained=True)]


def test_none_keeps_everything_repeats_too() -> None:
    [result] = KeepAll().compress([question(" Same. Same.\n", "Same. Same.")])
    assert texts_of(result) == ["Same. Same.", "Same. Same."]
    assert (result.evidence[0].start, result.words_in, result.words_kept) == (1, 4, 4)


def test_truncate_keeps_the_first_words() -> None:
    [result] = Truncate(keep=0.5).compress([question("One  two three.", "Four five.\nSix seven.")])
    assert texts_of(result) == ["One  two three."]
    [result] = Truncate(keep=5 / 7).compress(
        [question("One  two three.", "Four five.\nSix seven.")]
    )
    assert texts_of(result) == ["One  two three.", "Four five."]
    assert [(d.passage_id, d.start, d.end, d.reason) for d in result.dropped] == [
        ("p1", 11, 21, "after the first 5 of 7 words")
    ]
    [result] = Truncate(keep=0.01).compress([question("One two.")])
    assert texts_of(result) == ["One"]


@given(st.lists(TEXTS, max_size=3), st.integers(1, 12))
def test_truncate_fills_a_budget_of_tokens_and_never_exceeds_it(
    texts: list[str], budget: int
) -> None:
    q = question(*texts)
    [result] = Truncate(budget=budget, count_tokens=count_pieces).compress([q])
    used = sum(count_pieces(texts_of(result)))
    assert used <= budget
    if result.dropped:
        out = result.dropped[0]
        text = next(p.text for p in q.passages if p.id == out.passage_id)
        assert used + count_pieces([text[out.start : out.end].split()[0]])[0] > budget


@given(st.lists(TERMS, min_size=1, max_size=8), TERMS)
def test_bm25_equals_bm25s(texts: list[str], asked: str) -> None:
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    corpus = [[ids[w] for w in text.split()] for text in texts]
    if not any(corpus) or not asked:
        assert bm25(asked, texts) == [0.0] * len(texts)
        return
    reference = bm25s.BM25(method="lucene", k1=K1, b=B, dtype="float64")
    reference.index((corpus, ids), show_progress=False)
    expected = reference.get_scores(sorted(set(asked.split())))
    np.testing.assert_allclose(bm25(asked, texts), expected, rtol=1e-9, atol=1e-12)


def test_bm25_finds_the_sentence_with_the_rare_terms_whatever_their_form() -> None:
    q = question("The old bridge is here. Eiffel builds towers of iron.", "The moon is red.")
    [result] = BM25Sentence(keep=0.4).compress([q])
    assert texts_of(result) == ["Eiffel builds towers of iron."]


def test_bm25_reads_scripts_without_spaces() -> None:
    assert bm25("铁塔在哪里", ["月亮很亮。", "铁塔在巴黎。"])[1] > 0


def test_bm25_without_a_shared_term_keeps_nothing_above_a_threshold() -> None:
    [result] = BM25Sentence(threshold=0.1).compress([question("Moon. Star.", asks="tower")])
    assert result.abstained
    assert {d.reason for d in result.dropped} == {"score 0.00 below threshold 0.10"}


@pytest.mark.parametrize("compressor", [Truncate, BM25Sentence])
def test_a_budget_without_a_counter_is_refused(compressor: type[Truncate | BM25Sentence]) -> None:
    with pytest.raises(ValueError, match="token counter"):
        compressor(budget=9)


def test_truncate_needs_one_limit() -> None:
    for limits in ({}, {"keep": 0.5, "budget": 9}):
        with pytest.raises(ValueError, match="either keep or budget"):
            Truncate(**limits, count_tokens=count_pieces)


def test_embedding_scores_are_the_cosines_of_question_and_sentence(encoder: Encoder) -> None:
    q = question("The iron tower. The red moon by night.", "", "Fire and water.")
    other = question("The red moon by night. A dog.", asks="what was red?")
    results = EmbeddingSentence(encoder).compress([q, other])
    for one, result in zip((q, other), results, strict=True):
        check(one, result)
        asked = encoder.queries([one.text], dense=True, tokens=False).dense
        pairs = [("", text) for text in texts_of(result)]
        found = encoder.passages(pairs, dense=True, tokens=False).dense
        np.testing.assert_allclose([e.score for e in result.evidence], found @ asked[0], atol=1e-5)


def test_embedding_keeps_the_sentence_that_is_the_question(encoder: Encoder) -> None:
    q = question("The old dog. Who built the iron tower? A star.", "Fire and water.")
    [result] = EmbeddingSentence(encoder, keep=0.4).compress([q])
    assert texts_of(result) == ["Who built the iron tower?"]
    [result] = EmbeddingSentence(encoder, threshold=0.999).compress([q])
    assert texts_of(result) == ["Who built the iron tower?"]


def test_embedding_counts_a_budget_in_tokens_of_its_encoder(encoder: Encoder) -> None:
    q = question("The iron tower. The red moon by night.", "Fire and water.")
    for budget in (1, 4, 5, 12, 99):
        [result] = EmbeddingSentence(encoder, budget=budget).compress([q])
        check(q, result)
        assert sum(encoder.count_tokens(texts_of(result))) <= budget
        assert bool(result.evidence) == (budget >= 4)


def test_embedding_without_sentences(encoder: Encoder) -> None:
    compressor = EmbeddingSentence(encoder, keep=0.3)
    assert compressor.compress([]) == []
    for q in (question(), question(" ")):
        assert compressor.compress([q]) == [Compressed("q", (), (), 0, 0, abstained=True)]
