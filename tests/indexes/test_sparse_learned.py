from pathlib import Path

import numpy as np
import pytest

from ragib.config import EncoderConfig, SparseConfig
from ragib.errors import ConfigError, InputError
from ragib.indexes.base import Batch, Queries
from ragib.indexes.sparse import SparseEngine
from ragib.models import locate
from ragib.types import Passage

TEXTS = ["the red cat", "a blue bird by the river", "old iron bridge", "who wrote the book", "sun"]
PASSAGES = [Passage(f"p{i}", "d", text) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def splade_dir(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SPLADE encoder with random weights and biases, sparse enough to leave terms out."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, set_seed

    folder = tmp_path_factory.mktemp("splade")
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder_dir)
    set_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).save_pretrained(folder / "bare")
    tokenizer.save_pretrained(folder / "bare")
    modules = [MLMTransformer(str(folder / "bare")), SpladePooling("max")]
    SparseEncoder(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


def test_scores_are_dot_products_of_the_encoder(splade_dir: Path, tmp_path: Path) -> None:
    from sentence_transformers import SparseEncoder

    engine = SparseEngine(SparseConfig(engine="learned", model=str(splade_dir)))
    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "merged"]
    for part in parts:
        part.mkdir()
    engine.encode(Batch(PASSAGES[:2]), parts[0])
    engine.encode(Batch(PASSAGES[2:]), parts[1])
    keep = np.array([True, False, True])
    engine.merge(parts[:2], [None, keep], parts[2])

    questions = ["who wrote the red book", "iron sun"]
    model = SparseEncoder(str(splade_dir), device="cpu")
    kept = [text for i, text in enumerate(TEXTS) if i != 3]
    products = (
        (model.encode_query(questions).to_dense() @ model.encode_document(kept).to_dense().T)
        .cpu()
        .numpy()
    )
    assert np.ptp(products) > 0
    order = np.argsort(-products, axis=1, kind="stable")

    merged = engine.open([parts[2]], np.ones(4, bool)).search(Queries(questions), 4, None)
    np.testing.assert_array_equal(merged.rows, order)
    np.testing.assert_allclose(merged.scores, np.take_along_axis(products, order, 1), rtol=1e-4)

    alive = np.array([True, True, True, False, True])
    grown = engine.open(parts[:2], alive).search(Queries(questions), 4, None)
    np.testing.assert_array_equal(grown.rows, np.array([0, 1, 2, 4])[merged.rows])
    assert engine.describe() == {
        "engine": "learned",
        "model": str(splade_dir),
        "revision": locate(EncoderConfig(model=str(splade_dir)))[1],
    }


def test_no_queries_and_no_passages(splade_dir: Path, tmp_path: Path) -> None:
    engine = SparseEngine(SparseConfig(engine="learned", model=str(splade_dir)))
    engine.encode(Batch([]), tmp_path)
    found = engine.open([tmp_path], np.empty(0, bool)).search(Queries(["sun"]), 2, None)
    assert found.rows.tolist() == [[-1, -1]]
    assert engine.open([tmp_path], np.empty(0, bool)).search(Queries([]), 2, None).rows.size == 0


def test_a_model_is_needed_and_must_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.sparse\.model"):
        SparseEngine(SparseConfig(engine="learned"))
    engine = SparseEngine(SparseConfig(engine="learned", model=str(tmp_path)))
    with pytest.raises(InputError, match=r"holds no \.safetensors weights"):
        engine.encode(Batch(PASSAGES), tmp_path)
