from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.model import EvidenceModel, from_base, load, save
from ragib.compressor.reading import (
    answer_span,
    best_span,
    read,
    sentence_features,
    texts_of,
)
from ragib.compressor.windows import by_length, windows
from ragib.errors import InputError

SENTENCE = "The old tower of Paris was built by a king. "


@pytest.fixture(scope="module")
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    made = from_base(str(tiny_encoder_dir))
    made.freeze_words()
    made.modules.eval()
    return made


def one(model: EvidenceModel, question: str, text: str, title: str = ""):
    [[found]] = texts_of(model, [(question, [(title, text)])])
    return read(model, [found])[0]


def test_never_longer_than_the_encoder_reads(model: EvidenceModel) -> None:
    assert model.settings.max_tokens == 128


def test_saved_and_loaded_gives_the_same_reading(model: EvidenceModel, tmp_path: Path) -> None:
    save(model, tmp_path)
    before, after = (one(m, "who?", SENTENCE) for m in (model, load(tmp_path)))
    np.testing.assert_allclose(before.keep, after.keep, atol=0.05)
    assert before.relevance == pytest.approx(after.relevance, abs=0.05)


def test_frozen_word_embeddings_are_not_stored(model: EvidenceModel, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    save(model, tmp_path)
    assert not any("word_embeddings" in name for name in load_file(tmp_path / "model.safetensors"))


def test_trained_word_embeddings_are_stored(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    import torch

    made = from_base(str(tiny_encoder_dir))
    with torch.no_grad():
        made.modules["encoder"].get_input_embeddings().weight += 1
    save(made, tmp_path)
    found = load(tmp_path).modules["encoder"].get_input_embeddings().weight
    torch.testing.assert_close(
        found, made.modules["encoder"].get_input_embeddings().weight, atol=1e-2, rtol=1e-2
    )


def test_weights_of_another_base_are_refused(model: EvidenceModel, tmp_path: Path) -> None:
    save(model, tmp_path)
    path = tmp_path / "evidence.json"
    settings = json.loads(path.read_text()) | {"base_revision": "0" * 12}
    path.write_text(json.dumps(settings))
    with pytest.raises(InputError, match="trained from other weights"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("evidence.json", b"{", "not an evidence model"),
        ("evidence.json", b'{"unknown": 1}', "not an evidence model"),
        ("model.safetensors", b"damaged", "not an evidence model"),
    ],
)
def test_damaged_files_are_refused(
    model: EvidenceModel, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    save(model, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no evidence model"):
        load(tmp_path)


def test_every_token_of_a_long_passage_is_read(model: EvidenceModel) -> None:
    reading = one(model, "who built the tower?", SENTENCE * 60)
    assert len(reading.tokens) > 3 * model.settings.max_tokens
    for logits in (reading.keep, reading.start, reading.end):
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("question", ["", "who " * 500, "¿quién? 谁 \x00\x07"])
@pytest.mark.parametrize("text", ["", "\n", "谁建造了塔。", "\x00\x01 a\u200b b", "x" * 500])
def test_odd_input_gives_a_reading(model: EvidenceModel, question: str, text: str) -> None:
    reading = one(model, question, text, title="a b " * 100)
    assert len(reading.keep) == len(reading.tokens)
    assert np.isfinite(reading.relevance)


def test_batches_do_not_change_a_reading(model: EvidenceModel) -> None:
    texts = [[t] for t in ("a dog.", SENTENCE * 3, SENTENCE * 20)]
    asked = [("who?", [("", row[0])]) for row in texts]
    together = read(model, [row[0] for row in texts_of(model, asked)])
    for row, reading in zip(texts, together, strict=True):
        alone = one(model, "who?", row[0])
        np.testing.assert_allclose(alone.keep, reading.keep, atol=0.05)
        assert alone.relevance == pytest.approx(reading.relevance, abs=0.05)


def test_evidence_changes_the_reading(model: EvidenceModel) -> None:
    [[text]] = texts_of(model, [("who?", [("", SENTENCE)])])
    plain, told = read(model, [text, replace(text, evidence=text.passage.ids[:5])])
    assert not np.allclose(plain.keep, told.keep)


def test_sentence_features_of_all_sentences(model: EvidenceModel) -> None:
    reading = one(model, "who?", SENTENCE * 2)
    length = len(SENTENCE) - 1
    features = sentence_features(reading, [(0, length), (length + 1, 2 * length + 1)])
    assert features.shape == (2, 3)
    assert np.isfinite(features).all()
    probabilities = 1 / (1 + np.exp(-reading.keep[reading.tokens.within(0, length)]))
    mean = probabilities.mean()
    assert features[0, 0] == pytest.approx(np.log(mean / (1 - mean)), abs=1e-4)
    assert features[0, 1] == pytest.approx(reading.relevance)


def test_answer_is_verbatim_and_inside_its_sentence(model: EvidenceModel) -> None:
    text = SENTENCE * 3
    span = answer_span(one(model, "who?", text), (0, len(SENTENCE) - 1))
    assert span is not None
    assert 0 <= span.start < span.end <= len(SENTENCE) - 1


@given(
    st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=12).flatmap(
        lambda s: st.tuples(
            st.just(s), st.lists(st.floats(-9, 9, width=32), min_size=len(s), max_size=len(s))
        )
    ),
    st.integers(1, 5),
)
def test_best_span_is_the_best_of_all(logits: tuple[list[float], list[float]], size: int) -> None:
    start, end = (np.array(part, np.float32) for part in logits)
    first, last, score = best_span(start, end, size)
    assert 0 <= last - first < size
    spans = [(i, j) for i in range(len(start)) for j in range(i, min(i + size, len(start)))]
    assert score == max(start[i] + end[j] for i, j in spans)


@given(st.integers(0, 400), st.integers(4, 60), st.integers(0, 3))
def test_windows_cover_everything(tokens: int, size: int, overlap: int) -> None:
    found = windows(tokens, size, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == tokens
    assert all(0 <= last - first <= size for first, last in found)
    assert all(b[0] == a[1] - overlap for a, b in pairwise(found))


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(50, 200))
def test_batches_hold_every_item_once(lengths: list[int], most: int) -> None:
    groups = list(by_length(lengths, most))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(g) * max(lengths[i] for i in g) <= most for g in groups)
