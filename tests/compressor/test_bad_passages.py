"""Whatever is put in: verbatim spans that never overlap, never more words than came in."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_models import make_llmlingua2, make_open_provence

from ragib.compressor.base import Compressor
from ragib.compressor.calibration import Calibration, save_calibration
from ragib.compressor.model import from_base, save
from ragib.compressor.registry import COMPRESSORS, load_compressor
from ragib.config import CompressorConfig, EncoderConfig
from ragib.encoders import load_encoder
from ragib.text import count_words
from ragib.types import Compressed, Passage, Question

SETTINGS = {
    "none": {},
    "truncate": {"keep": 0.4},
    "truncate-budget": {"name": "truncate", "budget": 20},
    "bm25-sentence": {"keep": 0.4},
    "bm25-sentence-budget": {"name": "bm25-sentence", "budget": 20},
    "embedding-sentence": {"keep": 0.4},
    "embedding-sentence-budget": {"name": "embedding-sentence", "budget": 20},
    "ib": {"keep": 0.4},
    "ib-threshold": {"name": "ib", "threshold": 0.5},
    "ib-budget": {"name": "ib", "budget": 20},
    "llmlingua-2": {"keep": 0.4},
    "llmlingua-2-pieces": {"name": "llmlingua-2", "keep": 0.4},
    "open-provence": {},
    "open-provence-pieces": {"name": "open-provence", "budget": 20},
}
SAMPLES = {
    "arabic": "بنى الملك البرج القديم في باريس. من كتب القصيدة؟ لا أحد يعلم.",
    "chinese": "国王建造了巴黎的古塔。谁写了这首诗。没有人知道。",
    "devanagari": "राजा ने पेरिस का पुराना मीनार बनवाया। कविता किसने लिखी? कोई नहीं जानता।",
    "emoji": "The king 👑 built it 🏗️. 👨‍👩‍👧‍👦 saw 🗼🗼🗼! 🇫🇷 flags.",
    "control": "The\x00 old\x07 tower.\x1b[31m It is\x7f red.\u200b\u202e A dog\ufeff ran.\x85 So.",
    "separators": "[CLS] The tower [SEP] is old. </s><s> A king [MASK] built it. [PAD] <pad>.",
    "one-word": "x" * 3000,
    "no-words": "... --- !!! \u2014 ??? ,,,",
    "blank": " \n\t\u00a0\u3000\r\n ",
    "empty": "",
}
QUESTIONS = ("who built the tower?", "من بنى البرج", "谁建造了塔", "मीनार", "🗼", "\x00\x1b", "?")
WORDS = "The tower of Paris was built by a king. It is old! Who wrote it? A dog ran".split(" ")
PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from([piece for text in SAMPLES.values() for piece in text.split(" ")]),
    st.text(max_size=8),
)
TEXTS = st.lists(PIECES, max_size=25).map(" ".join)


def question(*texts: str, asks: str = QUESTIONS[0], title: str = "Towers") -> Question:
    passages = (Passage(f"p{i}", f"p{i}", t, title) for i, t in enumerate(texts))
    return Question("q", asks, tuple(passages))


@pytest.fixture(scope="module")
def make(
    tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Compressor]:
    """Load the compressor of one of `SETTINGS`, each at most once."""
    root = tmp_path_factory.mktemp("bad-input")
    encoder = load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))
    evidence = from_base(str(tiny_encoder_dir))
    evidence.freeze_words()
    save(evidence, root / "ib")
    twice = Calibration(first=(0.0, 1.0, 0.1, 0.1), second=(0.0, 1.0, 0.1, 0.1, 0.5, 0.1, 0.1))
    save_calibration(twice, root / "ib")
    weights = {
        "llmlingua-2": make_llmlingua2("bert", tiny_encoder_dir, root / "lb"),
        "llmlingua-2-pieces": make_llmlingua2("xlm-roberta", tiny_encoder_dir, root / "lx"),
        "open-provence": make_open_provence("modernbert", tiny_encoder_dir, root / "om"),
        "open-provence-pieces": make_open_provence("xlm-roberta", tiny_encoder_dir, root / "ox"),
    }
    loaded: dict[str, Compressor] = {}

    def load(key: str) -> Compressor:
        if key not in loaded:
            values = {"name": key, **SETTINGS[key]}
            if values["name"] == "ib":
                values["name"] = str(root / "ib")
            if key in weights:
                values["model"] = str(weights[key])
            loaded[key] = load_compressor(CompressorConfig(**values), encoder)
        return loaded[key]

    return load


def check(asked: Question, result: Compressed) -> None:
    texts = {p.id: p.text for p in asked.passages}
    for item in result.evidence:
        assert item.text
        assert texts[item.passage_id][item.start : item.end] == item.text
    spans = [(x.passage_id, x.start, x.end) for x in (*result.evidence, *result.dropped)]
    for name, text in texts.items():
        inside = sorted((start, end) for passage, start, end in spans if passage == name)
        assert all(0 <= start < end <= len(text) for start, end in inside)
        assert all(a[1] <= b[0] for a, b in pairwise(inside))
        covered = {i for start, end in inside for i in range(start, end)}
        assert all(i in covered or text[i].isspace() for i in range(len(text)))
    assert result.words_in == sum(map(count_words, texts.values()))
    assert 0 <= result.words_kept <= result.words_in
    assert result.abstained == (not result.evidence)


def test_every_registered_compressor_is_here() -> None:
    here = {values.get("name", key) for key, values in SETTINGS.items()}
    assert {*here, "generative"} == set(COMPRESSORS)  # that one is in test_generative.py


@pytest.mark.parametrize("key", SETTINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXTS, max_size=3), asks=st.sampled_from(QUESTIONS) | TEXTS, title=TEXTS)
def test_any_text(
    make: Callable[[str], Compressor], key: str, texts: list[str], asks: str, title: str
) -> None:
    compressor = make(key)
    asked = question(*texts, asks=asks, title=title)
    [result] = compressor.compress([asked])
    check(asked, result)
    assert compressor.compress([asked]) == [result]


@pytest.mark.parametrize("key", SETTINGS)
def test_other_scripts_control_characters_and_odd_texts(
    make: Callable[[str], Compressor], key: str
) -> None:
    asked = [question(text, asks=asks) for text in SAMPLES.values() for asks in QUESTIONS]
    asked.append(question(*SAMPLES.values()))
    results = make(key).compress(asked)
    for one, result in zip(asked, results, strict=True):
        check(one, result)
    assert make(key).compress(asked) == results
    assert results[-1].evidence


@pytest.mark.parametrize("key", SETTINGS)
def test_no_questions_no_passages_and_empty_passages(
    make: Callable[[str], Compressor], key: str
) -> None:
    nothing = Compressed("q", (), (), 0, 0, abstained=True)
    empty = [question(), question(""), question("", " \n", "\t")]
    assert make(key).compress([]) == []
    assert make(key).compress(empty) == [nothing] * 3
    between = [empty[0], question("A dog ran.", ""), empty[1]]
    first, second, third = make(key).compress(between)
    assert first == third == nothing
    check(between[1], second)


@pytest.mark.parametrize("key", SETTINGS)
def test_a_question_and_a_title_longer_than_the_window(
    make: Callable[[str], Compressor], key: str
) -> None:
    asked = question(*SAMPLES.values(), asks="who built it? " * 700, title="a tower " * 400)
    [result] = make(key).compress([asked])
    check(asked, result)
    assert make(key).compress([asked]) == [result]


@pytest.mark.parametrize("key", [name for name in COMPRESSORS if name != "generative"])
def test_a_passage_of_50000_words(make: Callable[[str], Compressor], key: str) -> None:
    text = " ".join(f"{' '.join(WORDS)} by the river number {i}." for i in range(2174))
    asked = question(text, SAMPLES["chinese"])
    assert count_words(text) == 50_002
    [result] = make(key).compress([asked])
    check(asked, result)
    assert result.evidence
