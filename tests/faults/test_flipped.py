"""Large files are not hashed when an index is opened: what is wrong in one may come to light later.

Whatever is flipped, a search gives an answer or says which file is damaged.
"""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ragib.cli.main import cli
from ragib.config import (
    ChunkConfig,
    DenseConfig,
    EncoderConfig,
    IndexConfig,
    MultiVectorConfig,
    RetrieverConfig,
    SparseConfig,
)
from ragib.encoders import load_encoder
from ragib.errors import IndexCorruptError, InputError, RagibError
from ragib.indexes import listscorer
from ragib.indexes.index import Index
from ragib.types import Document

CASES = 6
"""Damaged states of each file."""

SEED = 5

FORMS = {
    "rabitq, int8, bm25s": (
        DenseConfig(storage="rabitq", refine=1),
        MultiVectorConfig(dim=8, storage="int8"),
        SparseConfig(),
    ),
    "hnsw, int4, rank-bm25": (
        DenseConfig(storage="hnsw"),
        MultiVectorConfig(dim=8, storage="int4"),
        SparseConfig(engine="rank-bm25"),
    ),
    "flat, 1bit": (
        DenseConfig(storage="flat"),
        MultiVectorConfig(dim=32, storage="1bit", rescore=0),
        SparseConfig(title_boost=2),
    ),
}


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Hash nothing at opening, and use what answers large indexes."""
    monkeypatch.setattr("ragib.indexes.store.SMALL", 0)
    monkeypatch.setattr("ragib.indexes.dense_search._CANDIDATES", 8)
    monkeypatch.setattr(listscorer, "_answered", 1 + listscorer.PATIENCE)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    config = EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu")
    return config, load_encoder(config)


def built(path: Path, encoder, form: str) -> Path:
    """Build an index of two segments with deleted rows, and an old version of some."""
    config, loaded = encoder
    dense, multivector, sparse = FORMS[form]
    chunk = ChunkConfig(max_tokens=16, overlap_tokens=0)
    settings = IndexConfig(
        encoder=config, chunk=chunk, dense=dense, multivector=multivector, sparse=sparse
    )
    documents = [
        Document(f"d{i}", f"The king of city {i} built bridge {i % 7}. A poem.", "t", {"year": i})
        for i in range(60)
    ]
    with Index.build(documents[:40], path, settings, encoder=loaded) as index:
        index.add(documents[35:]).delete(["d1", "d50"])
    return path


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flip some bits, often in the header, or write over some bytes."""
    changed = bytearray(data)
    end = rng.choice((128, len(data), len(data)))
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(min(end, len(data)))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.5:
        at = rng.randrange(len(data))
        piece = rng.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" * 4, b"9", b"\xff" * 400))
        changed[at : at + len(piece)] = piece[: len(data) - at]
    return bytes(changed)


def use(path: Path, encoder, kind: str) -> None:
    """Search in every way that reads files of a kind of index, or the passages."""
    ways = [{"using": "hybrid"}, {"using": "hybrid", "where": {"year": {"lt": 30}}}]
    if kind in ("dense", "multivector", "sparse"):
        ways = [{"using": kind}, {"using": kind, "where": {"year": {"lt": 30}}}]
    if kind == "multivector":
        ways.append({"using": kind, "candidates": "dense"})
    with Index.open(path, encoder=encoder[1]) as index:
        for way in ways:
            index.search("king of city 7", 5, **way)
        if kind == "sparse":
            syntax = RetrieverConfig(using="sparse", syntax=True)
            index.retrieve(['"city 7" +bridge -poem'], syntax)
        if kind == "passages.sqlite":
            list(index.passages())
            index.passage("d3#0")


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_or_the_damaged_file(tmp_path, encoder, form):
    path = built(tmp_path / "idx", encoder, form)
    rng = random.Random(SEED)
    answered = named = 0
    for file in sorted(p for p in (path / "segments").rglob("*") if p.is_file()):
        kind = file.relative_to(path).parts[2]
        sound, aside = file.read_bytes(), tmp_path / "aside"
        for case in range(CASES):
            aside.write_bytes(damaged(sound, rng))
            aside.replace(file)
            try:
                use(path, encoder, kind)
                answered += 1
            except IndexCorruptError as error:
                assert str(path) in str(error)
                named += 1
            except RagibError:
                pass
            except BaseException as error:
                raise AssertionError(f"case {case} of {file}") from error
        aside.write_bytes(sound)
        aside.replace(file)
    assert answered and named
    use(path, encoder, "passages.sqlite")


def test_what_stumbles_names_the_file(tmp_path, encoder):
    path = built(tmp_path / "idx", encoder, "flat, 1bit")
    rows = path / "segments" / "000001" / "sparse" / "rows.npy"
    array = np.load(rows)
    np.save(rows, array + 1000)
    with Index.open(path, encoder=encoder[1]) as index:
        for _ in range(2):
            with pytest.raises(IndexCorruptError, match=r"rows\.npy: its SHA-256 .* restore"):
                index.search("king", using="sparse")
        assert index.search("king", using="dense")
    result = CliRunner().invoke(cli, ["search", str(path), "king", "--using", "sparse"])
    assert result.exit_code == 1
    assert "rows.npy: its SHA-256 is not what the manifest says" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_error_in_a_sound_index_is_raised_as_it_is(tmp_path, encoder):
    path = built(tmp_path / "idx", encoder, "flat, 1bit")

    class Broken:
        revision = encoder[1].revision

        def queries(self, *_, **__):
            raise ZeroDivisionError("a fault of the encoder")

    with Index.open(path, encoder=Broken()) as index:
        with pytest.raises(ZeroDivisionError, match="a fault of the encoder"):
            index.search("king", using="dense")
        with pytest.raises(InputError):
            index.search("king", k=0)


def test_damage_is_not_made_sound_by_compaction(tmp_path, encoder):
    path = built(tmp_path / "idx", encoder, "flat, 1bit")
    vectors = path / "segments" / "000001" / "dense" / "vectors.npy"
    data = bytearray(vectors.read_bytes())
    data[-3] ^= 1
    vectors.write_bytes(data)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(IndexCorruptError, match=r"vectors\.npy"):
        Index.open(path, encoder=encoder[1]).compact()
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_structures_are_hashed_at_opening(tmp_path, encoder):
    """faiss follows the links of a graph wherever they lead."""
    path = built(tmp_path / "idx", encoder, "hnsw, int4, rank-bm25")
    structure = path / "segments" / "000001" / "dense" / "structure.faiss"
    copy = shutil.copyfile(structure, tmp_path / "copy")
    for at in range(0, structure.stat().st_size, 997):
        data = bytearray(copy.read_bytes())
        data[at] ^= 0xFF
        structure.write_bytes(data)
        with pytest.raises(IndexCorruptError, match=r"structure\.faiss"):
            Index.open(path)
