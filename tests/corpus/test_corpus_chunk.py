from __future__ import annotations

import string
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragib.config import ChunkConfig
from ragib.corpus import chunk, word_tokens
from ragib.types import Document

ODD = st.sampled_from(
    "é|e\u0301\u0308|日本語。|👩\u200d👩\u200d👧|👍🏽|❤\ufe0f|\u00a0|\u3000|\u2028|J. F.\u00a0K."
    "|\ufffd|\ufeff|\r\n|\x0c|\x85|Dr. |आप। |؟ |xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".split(
        "|"
    )
)
PIECES = st.one_of(
    ODD,
    st.text(max_size=6),
    st.text(string.ascii_letters, min_size=1, max_size=8).map(lambda word: word + " "),
    st.sampled_from([". ", "! ", "\n\n", "\n", " ", "? "]),
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
CONFIGS = st.tuples(st.integers(8, 30), st.integers(0, 29)).map(
    lambda pair: ChunkConfig(max_tokens=pair[0], overlap_tokens=min(pair[1], pair[0] - 1))
)


def bytes_count(texts: Sequence[str]) -> list[int]:
    """A counter in which one character can be several tokens, as in byte-level encoders."""
    return [len(text.encode("utf-8", "surrogatepass")) // 2 for text in texts]


def unknown_word_count(texts: Sequence[str]) -> list[int]:
    """A counter in which any word is one token, as unknown words are in word pieces."""
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize("count_tokens", [word_tokens, bytes_count, unknown_word_count])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS, config=CONFIGS)
def test_passages_are_verbatim_ordered_complete_and_within_budget(
    count_tokens, text: str, config: ChunkConfig
) -> None:
    passages = chunk(Document("d", text), config, count_tokens)
    covered: set[int] = set()
    for number, passage in enumerate(passages):
        assert passage.id == f"d#{number}"
        assert passage.text == text[passage.start : passage.end]
        assert passage.text == passage.text.strip() != ""
        assert len(passage.text.split()) <= len(passage.text) <= 32 * config.max_tokens * 2
        covered.update(range(passage.start, passage.end))
    starts = [passage.start for passage in passages]
    ends = [passage.end for passage in passages]
    assert starts == sorted(set(starts))
    assert ends == sorted(set(ends))
    assert all(char.isspace() or at in covered for at, char in enumerate(text))


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, config=CONFIGS)
def test_words_and_marks_stay_within_the_budget(text: str, config: ChunkConfig) -> None:
    passages = chunk(Document("d", text), config, word_tokens)
    counts = word_tokens([passage.text for passage in passages])
    assert all(count <= config.max_tokens for count in counts)


def numbered(count: int) -> str:
    return " ".join(f"Sentence number {word} is here." for word in string.ascii_lowercase[:count])


def test_whole_sentences_are_packed_with_overlap() -> None:
    text = numbered(6)  # six tokens a sentence
    passages = chunk(Document("d", text), ChunkConfig(max_tokens=20, overlap_tokens=7), word_tokens)
    kept = [[part.split()[2] for part in p.text.split(".") if part] for p in passages]
    assert kept == [["a", "b", "c"], ["c", "d", "e"], ["e", "f"]]


def test_no_overlap() -> None:
    config = ChunkConfig(max_tokens=20, overlap_tokens=0)
    passages = chunk(Document("d", numbered(6)), config, word_tokens)
    assert [(p.start, p.end) for p in passages] == [(0, 80), (81, 161)]


def test_overlap_gives_way_to_a_sentence_that_needs_the_room() -> None:
    text = "One two. The dog and the cat saw him today. The bird flew."
    config = ChunkConfig(max_tokens=11, overlap_tokens=5)
    passages = chunk(Document("d", text), config, word_tokens)
    assert [p.text for p in passages] == [
        "One two.",
        "The dog and the cat saw him today.",
        "The bird flew.",
    ]


def test_everything_is_inherited() -> None:
    document = Document("d", numbered(9), "Title", {"year": 1}, ("staff",))
    for passage in chunk(document, ChunkConfig(max_tokens=8, overlap_tokens=0), word_tokens):
        assert passage.doc_id == "d"
        assert (passage.title, passage.metadata, passage.access) == (
            "Title",
            {"year": 1},
            ("staff",),
        )


def test_long_sentences_are_cut_at_line_breaks_before_words_before_characters() -> None:
    config = ChunkConfig(max_tokens=8, overlap_tokens=0)
    lines = "a a a a a\nb b b b b b\nc c c c"
    assert [p.text for p in chunk(Document("d", lines), config, word_tokens)] == [
        "a a a a a",
        "b b b b b b",
        "c c c c",
    ]
    words = "one two three four five six seven eight nine ten"
    assert [p.text for p in chunk(Document("d", words), config, word_tokens)] == [
        "one two three four five",
        "six seven eight nine ten",
    ]
    word = "x" * 600
    assert [len(p.text) for p in chunk(Document("d", word), config, word_tokens)] == [150] * 4


def test_a_cut_does_not_part_a_letter_from_its_marks() -> None:
    text = "e\u0301\u0323" * 300
    for passage in chunk(
        Document("d", text), ChunkConfig(max_tokens=8, overlap_tokens=0), word_tokens
    ):
        assert passage.text.startswith("e")


@pytest.mark.parametrize("text", ["", " \n\t\u3000"])
def test_no_text_no_passage(text: str) -> None:
    assert chunk(Document("d", text), ChunkConfig(), word_tokens) == []


def test_one_call_counts_all_sentences() -> None:
    calls: list[int] = []

    def count(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return word_tokens(texts)

    chunk(Document("d", numbered(20)), ChunkConfig(), count)
    assert calls == [20]


def test_word_tokens() -> None:
    assert word_tokens(["", "Don't stop.", "naïve 日本 x_1"]) == [0, 5, 3]
