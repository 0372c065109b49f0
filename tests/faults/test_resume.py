"""An interrupted build goes on where it stopped, and never with anything it should not use."""

from pathlib import Path

import pytest

from ragib.config import ChunkConfig, DenseConfig, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.encoders import load_encoder
from ragib.errors import IndexDirError
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

SHARD = 8


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("ragib.indexes.build.SHARD", SHARD)


@pytest.fixture(scope="module")
def config(tiny_encoder_dir) -> IndexConfig:
    return IndexConfig(
        encoder=EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu"),
        chunk=ChunkConfig(max_tokens=64, overlap_tokens=0),
        multivector=MultiVectorConfig(dim=8),
    )


class Counting:
    """An encoder that counts what it encodes, and is interrupted after a number of calls."""

    def __init__(self, config: IndexConfig, calls: int = 1000) -> None:
        self._encoder = load_encoder(config.encoder)
        self.calls = calls
        self.encoded = 0

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def passages(self, texts, *, dense, tokens):
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        self.encoded += len(texts)
        return self._encoder.passages(texts, dense=dense, tokens=tokens)


def corpus(n: int = 40) -> list[Document]:
    return [Document(f"d{i}", f"The king of city {i} built bridge {i}.") for i in range(n)]


def hits(index: Index):
    return [(h.passage, round(h.score, 5)) for h in index.search("king city 7", 40)]


def interrupted(path: Path, config: IndexConfig, calls: int, documents: list[Document]) -> int:
    encoder = Counting(config, calls)
    with pytest.raises(KeyboardInterrupt):
        Index.build(documents, path, config, encoder=encoder)
    return encoder.encoded


def test_build_resumes(tmp_path, config):
    whole = Counting(config)
    expected = hits(Index.build(corpus(), tmp_path / "whole", config, encoder=whole))
    assert whole.encoded == 80  # the sample of the projection, and every passage
    path = tmp_path / "idx"
    assert interrupted(path, config, 3, corpus()) == 40 + 2 * SHARD
    with pytest.raises(IndexDirError, match="first build has not finished"):
        Index.open(path)
    rest = Counting(config)
    index = Index.build(corpus(), path, config, encoder=rest)
    assert rest.encoded == 40 - 2 * SHARD
    assert hits(index) == expected
    assert not (path / ".build").exists()
    assert verify(path) == []


def test_another_corpus_keeps_what_is_the_same(tmp_path, config):
    path = tmp_path / "idx"
    config = config.model_copy(update={"kinds": ("dense",)})
    interrupted(path, config, 3, corpus())
    changed = [*corpus(SHARD), Document("other", "A ship."), *corpus(40)[SHARD + 1 :]]
    encoder = Counting(config)
    index = Index.build(changed, path, config, encoder=encoder)
    assert encoder.encoded == 40 - 2 * SHARD  # shards one and three
    fresh = Index.build(changed, tmp_path / "fresh", config)
    assert hits(index) == hits(fresh)


@pytest.mark.parametrize(
    "change",
    [
        {"dense": DenseConfig(metric="dot")},
        {"multivector": MultiVectorConfig(dim=16)},
        {"chunk": ChunkConfig(max_tokens=32, overlap_tokens=0)},
    ],
)
def test_another_configuration_uses_nothing(tmp_path, config, change):
    path = tmp_path / "idx"
    interrupted(path, config, 3, corpus())
    changed = config.model_copy(update=change)
    encoder = Counting(changed)
    index = Index.build(corpus(), path, changed, encoder=encoder)
    assert encoder.encoded == 80
    assert hits(index) == hits(Index.build(corpus(), tmp_path / "fresh", changed))


def test_where_it_runs_does_not_matter(tmp_path, config):
    path = tmp_path / "idx"
    interrupted(path, config, 3, corpus())
    encoder_config = config.encoder.model_copy(update={"batch_size": 4})
    changed = config.model_copy(update={"encoder": encoder_config})
    encoder = Counting(changed)
    Index.build(corpus(), path, changed, encoder=encoder)
    assert encoder.encoded == 40 - 2 * SHARD


@pytest.mark.parametrize("damage", ["flip", "remove", "receipt"])
def test_damaged_work_is_done_again(tmp_path, config, damage):
    path = tmp_path / "idx"
    interrupted(path, config, 3, corpus())
    part = next((path / ".build" / "done").glob("encode/*/dense/*"))
    if damage == "flip":
        part.write_bytes(part.read_bytes()[:-1] + b"\x55")
    elif damage == "remove":
        part.unlink()
    else:
        (part.parent.parent / "receipt.json").write_text('{"spec": 3')
    encoder = Counting(config)
    index = Index.build(corpus(), path, config, encoder=encoder)
    assert encoder.encoded == 40 - SHARD
    assert hits(index) == hits(Index.build(corpus(), tmp_path / "fresh", config))


def test_interrupted_add_leaves_the_index_and_resumes(tmp_path, config):
    path = tmp_path / "idx"
    Index.build(corpus(8), path, config)
    before = hits(Index.open(path))
    with pytest.raises(KeyboardInterrupt):
        Index.open(path, encoder=Counting(config, 2)).add(corpus())
    assert verify(path) == []
    assert hits(Index.open(path)) == before
    assert Index.open(path).delete(["d0"]) == 1  # a change in between does not lose the work
    encoder = Counting(config)
    index = Index.open(path, encoder=encoder).add(corpus())
    assert encoder.encoded == 40 - 2 * SHARD
    assert len(index) == 40


def test_reading_the_corpus_may_fail_at_any_point(tmp_path, config):
    def failing():
        yield from corpus(20)
        raise RuntimeError("the source broke")

    path = tmp_path / "idx"
    with pytest.raises(RuntimeError, match="the source broke"):
        Index.build(failing(), path, config)
    assert not path.exists()
    index = Index.build(corpus(8), path, config)
    with pytest.raises(RuntimeError):
        index.add(failing())
    assert verify(path) == []
    assert len(Index.open(path)) == 8
