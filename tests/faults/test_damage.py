"""Flipped bits, truncated and missing files: all are found, none is taken for sound."""

import random
import shutil
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.errors import IndexCorruptError, IndexDirError, RagibError
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document


@pytest.fixture(scope="module")
def sound(tmp_path_factory, tiny_encoder_dir) -> Path:
    """An index with every type of file there is."""
    path = tmp_path_factory.mktemp("sound") / "idx"
    documents = [Document(f"d{i}", f"The king of city {i} built bridge {i}.") for i in range(40)]
    config = IndexConfig(
        encoder=EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu"),
        chunk=ChunkConfig(max_tokens=16, overlap_tokens=0),
        multivector=MultiVectorConfig(dim=8),
    )
    index = Index.build(documents[:30], path, config)
    index.add(documents[25:])
    index.delete(["d1"])
    return path


@pytest.fixture
def copy(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "idx"))


def files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != "LOCK")


def found(path: Path) -> bool:
    """Whether `verify` reports the damage, and whether opening refuses it, as both must."""
    with pytest.raises(IndexDirError):
        Index.open(path, verify=True)
    return bool(verify(path))


def test_there_is_every_type_of_file(sound):
    assert {"", ".json", ".npy", ".sqlite"} <= {path.suffix for path in files(sound)}
    names = {path.relative_to(sound).parts[0].split("-")[0] for path in files(sound)}
    assert names == {"CURRENT", "generations", "segments", "tombstones", "projection"}
    assert verify(sound) == []


def test_every_flipped_bit_is_found(copy):
    rng = random.Random(11)
    for path in files(copy):
        data = path.read_bytes()
        for _ in range(6):
            bit = rng.randrange(8 * len(data))
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert found(copy), f"bit {bit} of {path}"
        path.write_bytes(data)
    assert verify(copy) == []


def test_truncated_and_grown_files_are_found(copy):
    rng = random.Random(12)
    for path in files(copy):
        data = path.read_bytes()
        for torn in (b"", data[: rng.randrange(len(data))], data[:-1], data + b"\0"):
            path.write_bytes(torn)
            assert found(copy), f"{len(torn)} of {len(data)} bytes of {path}"
            with pytest.raises(IndexCorruptError):
                Index.open(copy)
        path.write_bytes(data)
    assert verify(copy) == []


def test_missing_files_are_found(copy):
    for path in files(copy):
        aside = path.with_name("aside")
        path.rename(aside)
        assert found(copy), path
        with pytest.raises(IndexCorruptError):
            Index.open(copy)
        aside.rename(path)
    assert verify(copy) == []


def test_nothing_is_changed_in_a_damaged_index(copy):
    path = next(path for path in files(copy) if path.suffix == ".sqlite")
    path.write_bytes(path.read_bytes()[:-100])
    before = {path: path.read_bytes() for path in files(copy)}
    with pytest.raises(IndexCorruptError):
        Index.open(copy)
    with pytest.raises(RagibError):
        Index.build([Document("a", "text")], copy)
    assert {path: path.read_bytes() for path in files(copy)} == before


def test_a_damaged_index_can_be_overwritten(copy):
    (copy / "CURRENT").write_bytes(b"nonsense")
    config = IndexConfig(kinds=("sparse",))
    with pytest.raises(IndexDirError, match="--overwrite"):
        Index.build([Document("a", "A poem.")], copy, config)
    index = Index.build([Document("a", "A poem.")], copy, config, overwrite=True)
    assert [hit.passage.doc_id for hit in index.search("poem")] == ["a"]
    assert verify(copy) == []
    assert len(list((copy / "generations").iterdir())) == 1


def test_large_files_are_hashed_when_asked(copy, monkeypatch):
    """Opening compares the size of a large file; only `verify` reads it."""
    monkeypatch.setattr("ragib.indexes.store.SMALL", 0)
    path = next(path for path in files(copy) if path.name == "passages.sqlite")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    Index.open(copy).close()
    assert any(str(path) in problem for problem in verify(copy))
    with pytest.raises(IndexCorruptError, match=r"passages\.sqlite"):
        Index.open(copy, verify=True)


def test_a_database_that_cannot_be_read_is_no_traceback(copy, monkeypatch):
    monkeypatch.setattr("ragib.indexes.store.SMALL", 0)
    for path in files(copy):
        if path.name == "passages.sqlite":
            path.write_bytes(b"\x55" * path.stat().st_size)
    with Index.open(copy) as index, pytest.raises(IndexCorruptError, match="ragib verify"):
        index.search("king", using="sparse")
