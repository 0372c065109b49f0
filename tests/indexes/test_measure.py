"""An index that measures itself: recall by hand, questions that are drawn, and what is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragib.config import (
    ChunkConfig,
    DenseConfig,
    EncoderConfig,
    IndexConfig,
    Kind,
    MultiVectorConfig,
    SparseConfig,
)
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError
from ragib.indexes.base import Queries
from ragib.indexes.index import Index
from ragib.indexes.measure import K, draw_questions, measure_index, memory
from ragib.indexes.recall import recall
from ragib.indexes.snapshot import Snapshot
from ragib.types import Document

NOUNS = "king queen river bridge tower moon star water stone iron gold author poem war".split()


def silent(stage: str, done: int, total: int | None) -> None: ...


def documents(start: int, stop: int) -> list[Document]:
    rng = np.random.default_rng(start)
    return [Document(f"d{i}", " ".join(rng.choice(NOUNS, 12)) + ".") for i in range(start, stop)]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


def build(
    path: Path,
    model: Path,
    encoder: Encoder,
    deleted: tuple[str, ...] = ("d3", "d105"),
    **values: object,
) -> Path:
    """Two segments, some passages deleted, one document twice."""
    config = IndexConfig(
        encoder=EncoderConfig(model=str(model), device="cpu"),
        chunk=ChunkConfig(max_tokens=100, overlap_tokens=0),
        multivector=MultiVectorConfig(dim=16),
        **values,
    )
    first = documents(0, 40)
    first.append(Document("twin", first[7].text))
    index = Index.build(first, path, config, encoder=encoder)
    index.add(documents(100, 130))
    index.delete(deleted)
    index.close()
    return path


def searched(snapshot: Snapshot, kind: Kind, encoder: Encoder, texts: list[str]) -> tuple:
    queries = Queries(texts, encoder.queries(texts, dense=True, tokens=True))
    return queries, snapshot.searcher(kind).search(queries, K, None).rows.copy()


KINDS: list[Kind] = ["dense", "multivector", "sparse"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_missing_is_missed(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder, kind: Kind
) -> None:
    snapshot = Snapshot(build(tmp_path / "i", tiny_encoder_dir, encoder))
    texts = [*draw_questions(snapshot, 8), "king of the iron tower"]
    queries, found = searched(snapshot, kind, encoder, texts)
    np.testing.assert_array_equal(recall(snapshot, kind, queries, found), 1)
    shown = (found >= 0).sum(axis=1)
    assert (shown == K).all()
    worse = found.copy()
    worse[0, 4:7] = -1
    dead = np.flatnonzero(~snapshot.alive)
    worse[1, :2] = dead  # deleted rows are no results
    worst = snapshot.searcher(kind).search(queries, len(snapshot.alive), None).rows[2]
    worse[2, 0] = worst[worst >= 0][-1]
    shares = recall(snapshot, kind, queries, worse)
    np.testing.assert_allclose(shares[:3], [0.7, 0.8, 0.9])
    np.testing.assert_array_equal(shares[3:], 1)
    backwards = recall(snapshot, kind, queries, found[:, ::-1].copy())
    np.testing.assert_array_equal(backwards, 1)
    snapshot.close()


@pytest.mark.parametrize("kind", KINDS)
def test_either_of_two_equal_passages_is_right(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder, kind: Kind
) -> None:
    snapshot = Snapshot(build(tmp_path / "i", tiny_encoder_dir, encoder))
    found = snapshot.find_documents(["d7", "twin"])
    queries, rows = searched(snapshot, kind, encoder, [documents(0, 8)[7].text])
    first, second = found["d7"][0], found["twin"][0]
    assert rows[0, :2].tolist() == [first, second]
    one = rows[:, :1]
    assert recall(snapshot, kind, queries, one) == 1
    assert recall(snapshot, kind, queries, np.array([[second]])) == 1
    assert recall(snapshot, kind, queries, rows[:, 2:3]) == 0
    snapshot.close()


def test_rank_bm25_is_compared_with_its_own_form(tmp_path: Path) -> None:
    config = IndexConfig(kinds=("sparse",), sparse=SparseConfig(engine="rank-bm25", k1=1.5, b=0.7))
    index = Index.build(documents(0, 60), tmp_path / "i", config)
    index.delete(["d1"])
    index.close()
    assert measure_index(tmp_path / "i", progress=silent)["kinds"]["sparse"]["recall@10"] == 1


def test_a_question_with_nothing_to_find_does_not_count(tmp_path: Path) -> None:
    Index.build(documents(0, 20), tmp_path / "i", IndexConfig(kinds=("sparse",))).close()
    facts = measure_index(tmp_path / "i", ["king", "zebra"], progress=silent)
    assert facts["kinds"]["sparse"]["recall@10"] == 1
    nothing = measure_index(tmp_path / "i", ["zebra"], progress=silent)
    assert nothing["kinds"]["sparse"]["recall@10"] is None


@pytest.mark.parametrize("storage", ["flat", "sq8", "hnsw", "rabitq"])
def test_every_kind_is_measured(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder, storage: str
) -> None:
    dense = DenseConfig(storage=storage)
    path = build(tmp_path / "i", tiny_encoder_dir, encoder, (), dense=dense)
    stages: list[tuple[str, int, int | None]] = []
    facts = measure_index(path, encoder=encoder, progress=lambda *a: stages.append(a))
    assert facts["drawn"] is True
    assert facts["queries"] == 71
    assert list(facts["kinds"]) == KINDS
    for kind, measured in facts["kinds"].items():
        assert 0 < measured["p50_ms"] <= measured["p95_ms"]
        assert measured["memory_bytes"] > 0
        with Index.open(path) as index:
            assert measured["bytes_per_passage"] == index.info()["kinds"][kind]["bytes_per_passage"]
        assert (measured["encode_p50_ms"] is None) == (kind == "sparse")
        assert 0.9 <= measured["recall@10"] <= 1
    assert ("dense: queries", 71, 71) in stages


def test_a_bad_structure_shows(
    tmp_path: Path,
    tiny_encoder_dir: Path,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense = DenseConfig(storage="hnsw")
    path = build(tmp_path / "i", tiny_encoder_dir, encoder, (), dense=dense)

    def first(storage: str, index: object, queries: np.ndarray, count: int, mask: object):
        return np.tile(np.arange(count), (len(queries), 1))

    monkeypatch.setattr("ragib.indexes.dense_search.candidates", first)
    measured = measure_index(path, ["gold star", "war poem"], encoder=encoder, progress=silent)
    assert measured["kinds"]["dense"]["recall@10"] < 0.9
    assert measured["kinds"]["sparse"]["recall@10"] == 1


def test_questions_are_pieces_of_passages_and_the_same_each_time(tmp_path: Path) -> None:
    config = IndexConfig(kinds=("sparse",))
    texts = ["One two three.", "The  king\nbuilt an iron bridge over the old river in one day."]
    found = [Document(str(i), text) for i, text in enumerate(texts)]
    Index.build(found, tmp_path / "i", config).close()
    snapshot = Snapshot(tmp_path / "i")
    drawn = draw_questions(snapshot)
    assert drawn[0] == texts[0]
    assert drawn[1] in texts[1] and len(drawn[1].split()) == 8
    assert draw_questions(snapshot) == drawn
    assert len(draw_questions(snapshot, 1)) == 1
    snapshot.close()


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    index = Index.build(documents(0, 2), tmp_path / "i", IndexConfig(kinds=("sparse",)))
    with pytest.raises(InputError, match="nothing to measure"):
        measure_index(tmp_path / "i", [], progress=silent)
    index.delete(["d0", "d1"])
    for questions in (None, ["king"]):
        with pytest.raises(InputError, match="nothing to measure"):
            measure_index(tmp_path / "i", questions, progress=silent)


def test_memory_is_what_a_search_reads(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder
) -> None:
    sizes = {}
    for storage in ("flat", "sq8"):
        path = tmp_path / storage
        build(path, tiny_encoder_dir, encoder, dense=DenseConfig(storage=storage))
        snapshot = Snapshot(path)
        sizes[storage] = memory(snapshot, "dense")
        codes = sum((f / "multivector" / "codes.npy").stat().st_size for f in snapshot.folders)
        assert codes < memory(snapshot, "multivector") < 3 * codes
        assert memory(snapshot, "sparse") > 14 * 250  # a word each
        snapshot.close()
    assert sizes["flat"] == pytest.approx(71 * (4 * 32 + 4), abs=2 * 128)
    assert sizes["sq8"] < sizes["flat"]
