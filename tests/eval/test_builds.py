"""The indexes of a grid: few, each as its pipelines want it, and encoded once."""

from pathlib import Path

import numpy as np
import pytest

from ragib.config import ChunkConfig, Config, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.encoders import load_encoder
from ragib.errors import ConfigError, InputError
from ragib.eval.builds import build_all, corpus_digest, index_id, shared_indexes
from ragib.eval.cost import costs, index_bytes
from ragib.eval.encodings import RememberingEncoder
from ragib.eval.grid import read_grid
from ragib.indexes.index import Index
from ragib.types import Document

CONFIGS = Path(__file__).parents[2] / "configs"
DOCUMENTS = [
    Document(f"d{i}", f"the {a} of {b} was built by the river. it is old and {a}.", b)
    for i, (a, b) in enumerate(
        (a, b) for a in ("tower", "bridge", "king", "queen") for b in ("paris", "rome", "moon")
    )
]


class Counting:
    """An encoder that counts what it is given."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.texts = 0
        self.questions = 0

    def __getattr__(self, name):
        return getattr(self.encoder, name)

    def passages(self, texts, *, dense, tokens):
        self.texts += len(texts)
        return self.encoder.passages(texts, dense=dense, tokens=tokens)

    def queries(self, texts, *, dense, tokens):
        self.questions += len(texts)
        return self.encoder.queries(texts, dense=dense, tokens=tokens)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir)))


@pytest.fixture
def tiny(tiny_encoder_dir):
    def config(factor: float, using: str) -> Config:
        index = IndexConfig(
            encoder=EncoderConfig(model=str(tiny_encoder_dir)),
            chunk=ChunkConfig(max_tokens=40, overlap_tokens=0),
            multivector=MultiVectorConfig(dim=16, pool_factor=factor),
        )
        return Config(index=index, retriever={"using": using})

    return config


def test_the_big_grid_needs_three_indexes():
    configs = {p.name: p.config for p in read_grid(CONFIGS / "grid.yaml").pipelines}
    served = shared_indexes(configs)
    distinct = {index.model_dump_json() for index in served.values()}
    assert len(distinct) == 3
    for name, config in configs.items():
        index = served[name]
        if config.retriever.using in ("multivector", "hybrid"):
            assert index.multivector == config.index.multivector
        if config.retriever.using == "hybrid":
            assert index.kinds == config.index.kinds


def test_kinds_that_are_not_searched_are_not_built(tiny):
    served = shared_indexes({"a": tiny(2, "sparse"), "b": tiny(3, "dense")})
    assert served["a"] is served["b"]
    assert served["a"].kinds == ("dense", "sparse")
    assert served["a"].multivector == MultiVectorConfig()  # of no consequence: left out
    served = shared_indexes({"a": tiny(2, "multivector"), "b": tiny(3, "multivector")})
    assert served["a"] != served["b"]


def test_candidates_need_the_kinds_that_propose_them(tiny):
    config = tiny(2, "multivector")
    retriever = config.retriever.model_copy(update={"candidates": "sparse"})
    asking = config.model_copy(update={"retriever": retriever})
    served = shared_indexes({"a": config, "b": asking, "c": tiny(2, "dense")})
    assert served["b"].kinds == ("dense", "multivector", "sparse")
    assert shared_indexes({"b": asking})["b"].kinds == ("multivector", "sparse")
    for using in ("multivector", "hybrid"):
        index = config.index.model_copy(update={"kinds": ("dense", "multivector")})
        other = retriever.model_copy(update={"using": using})
        lacking = Config(index=index, retriever=other)
        with pytest.raises(ConfigError, match=r"'b': retriever\.candidates is sparse, but"):
            shared_indexes({"b": lacking})


def test_other_passages_need_another_index(tiny):
    config = tiny(2, "sparse")
    chunk = {"chunk": ChunkConfig(max_tokens=80, overlap_tokens=0)}
    other = config.model_copy(update={"index": config.index.model_copy(update=chunk)})
    served = shared_indexes({"a": config, "b": other})
    assert served["a"] != served["b"]


def test_an_index_is_known_by_what_is_in_it(tiny, encoder):
    digest, count = corpus_digest(DOCUMENTS)
    assert count == len(DOCUMENTS)
    assert corpus_digest(DOCUMENTS[:-1])[0] != digest
    config = tiny(2, "hybrid").index
    where = {"encoder": config.encoder.model_copy(update={"batch_size": 3})}
    more = {"multivector": MultiVectorConfig(dim=16, pool_factor=3)}
    name = index_id(config, digest, encoder)
    assert index_id(config.model_copy(update=where), digest, encoder) == name
    assert index_id(config.model_copy(update=more), digest, encoder) != name
    assert index_id(config, digest[::-1], encoder) != name


def test_pool_factors_share_the_encoding(tiny, encoder, tmp_path, monkeypatch):
    counting = Counting(encoder)
    monkeypatch.setattr("ragib.eval.builds.load_encoder", lambda config: counting)
    wanted = [tiny(factor, "hybrid").index for factor in (1, 2)]
    digest, _ = corpus_digest(DOCUMENTS)
    seen = []
    built = build_all(wanted, lambda: iter(DOCUMENTS), digest, tmp_path, lambda *s: seen.append(s))
    texts = counting.texts
    assert not list(tmp_path.glob("encoded-*"))
    assert {stage for stage, _, _ in seen} == {"index 1 of 2", "index 2 of 2"}
    assert built[0].spared == 0 < built[1].spared
    for config, one in zip(wanted, built, strict=True):
        alone = Index.build(DOCUMENTS, tmp_path / f"alone-{one.id}", config, encoder=encoder)
        for question in ("who built the bridge", "moon"):
            hits = [(h.passage.id, h.score) for h in one.index.search(question)]
            assert hits == [(h.passage.id, h.score) for h in alone.search(question)]
        total = index_bytes(one.index, "hybrid")
        assert total == alone.info()["bytes"]["total"]
        assert all(0 < index_bytes(one.index, kind) < total for kind in config.kinds)
        alone_and_beside = [index_bytes(one.index, "multivector", b) for b in ((), ("sparse",))]
        assert alone_and_beside[0] < alone_and_beside[1] < total
        assert costs(one, "hybrid")["build_seconds"] >= one.spared
    one_build = Counting(encoder)
    Index.build(DOCUMENTS, tmp_path / "one", wanted[0], encoder=one_build).close()
    assert texts == one_build.texts  # two builds encoded what one does
    asked = counting.questions
    built[1].index.search("moon")
    assert counting.questions == asked
    built[1].plain.search("moon")
    assert counting.questions == asked + 1
    again = build_all(wanted, lambda: iter(()), digest, tmp_path, lambda *s: None)
    assert [one.spared for one in again] == [one.spared for one in built]
    for one in [*built, *again]:
        one.close()


@pytest.mark.parametrize(("dense", "tokens"), [(True, True), (True, False), (False, True)])
def test_what_is_remembered_is_what_was_encoded(encoder, tmp_path, dense, tokens):
    remembering = RememberingEncoder(encoder, tmp_path)
    texts = [("rome", "the old bridge"), ("", "a cat"), ("x", "")]
    wanted = encoder.passages(texts, dense=dense, tokens=tokens)
    asked = ["who wrote it", "moon", "who wrote it"]
    for _ in range(2):
        found = remembering.passages(texts, dense=dense, tokens=tokens)
        _same(found, wanted)
        answers = remembering.queries(asked, dense=dense, tokens=tokens)
        _same(answers, encoder.queries(asked, dense=dense, tokens=tokens), 1e-5)
    assert remembering.count_tokens(["a cat"]) == encoder.count_tokens(["a cat"])


def test_without_room_nothing_is_kept(encoder, tmp_path):
    counting = Counting(encoder)
    remembering = RememberingEncoder(counting, tmp_path, room=100)
    for _ in range(2):
        remembering.passages([("", "a cat")], dense=True, tokens=True)
    assert counting.texts == 2
    assert not list(tmp_path.iterdir())
    assert remembering.spared == 0


def test_a_corpus_of_nothing_says_so(tiny, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("ragib.eval.builds.load_encoder", lambda config: encoder)
    with pytest.raises(InputError, match="no documents"):
        build_all([tiny(1, "dense").index], lambda: iter(()), "d", tmp_path, lambda *s: None)


def _same(a, b, close: float = 0.0) -> None:
    assert (a.dense is None) == (b.dense is None)
    if a.dense is not None:
        np.testing.assert_allclose(a.dense, b.dense, atol=close)
    assert (a.tokens is None) == (b.tokens is None)
    for x, y in zip(a.tokens or (), b.tokens or (), strict=True):
        np.testing.assert_allclose(x.vectors, y.vectors, atol=close)
        np.testing.assert_array_equal(x.spans, y.spans)
