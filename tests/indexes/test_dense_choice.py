"""What `dense.storage: auto` makes of an index that is built, grows and is compacted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragib.config import ChunkConfig, DenseConfig, EncoderConfig, IndexConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError
from ragib.indexes import bitscan, choice, dense_search
from ragib.indexes.choice import choose, explain
from ragib.indexes.index import Index
from ragib.indexes.plan import plan_index
from ragib.types import Document

AUTO = DenseConfig()


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 20 passages many, and have their codes searched."""
    monkeypatch.setattr(choice, "FLAT_UP_TO", 20)
    monkeypatch.setattr(dense_search, "_CANDIDATES", 1)


def config(tiny_encoder_dir: Path, **values: object) -> IndexConfig:
    return IndexConfig(
        kinds=("dense",),
        encoder=EncoderConfig(model=str(tiny_encoder_dir), device="cpu"),
        chunk=ChunkConfig(max_tokens=16, overlap_tokens=0),
        dense=DenseConfig(refine=5, **values),
    )


def documents(start: int, stop: int) -> list[Document]:
    words = "tower river king queen moon star iron gold poem bridge".split()
    texts = [" ".join(words[int(c)] for c in f"{i:03d}") for i in range(start, stop)]
    return [
        Document(str(i), text, metadata={"even": i % 2 == 0}) for i, text in enumerate(texts, start)
    ]


def coded(path: Path) -> list[bool]:
    return [
        (folder / "dense" / "rabitq.npy").exists()
        for folder in sorted((path / "segments").iterdir())
    ]


def test_what_is_chosen() -> None:
    assert choose(AUTO, 50_000) == "flat"
    assert choose(AUTO, 50_001) == "rabitq"
    assert choose(DenseConfig(storage="hnsw"), 3) == "hnsw"


def test_without_the_compiler_a_large_segment_is_flat_and_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "available", lambda: False)
    assert choose(AUTO, 120_000) == "flat"
    assert explain(AUTO, [(120_000, False)]) == (
        "flat, though 120,000 passages > 50,000, since rabitq needs llvmlite, "
        "which was not installed"
    )


def test_the_choice_is_one_line() -> None:
    assert explain(AUTO, [(120_000, True)]) == "rabitq, since 120,000 passages > 50,000"
    assert explain(AUTO, [(50_000, False)]) == "flat, since 50,000 passages <= 50,000"
    assert explain(AUTO, []) == "flat, since 0 passages <= 50,000"
    assert explain(AUTO, [(60_000, True), (7, False), (70_000, True), (9, False)]) == (
        "rabitq, since 60,000 to 70,000 passages in each of 2 segments > 50,000; "
        "flat, since 7 to 9 passages in each of 2 segments <= 50,000"
    )
    assert explain(DenseConfig(storage="sq8"), [(1, False)]) == "sq8, as configured"


@pytest.mark.usefixtures("small")
def test_every_segment_is_chosen_for_and_compaction_chooses_anew(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder
) -> None:
    pytest.importorskip("llvmlite")
    path, settings = tmp_path / "i", config(tiny_encoder_dir)
    index = Index.build(documents(0, 15), path, settings, encoder=encoder)
    assert index.info()["kinds"]["dense"]["choice"] == "flat, since 15 passages <= 20"
    index.add(documents(15, 45))
    index.add(documents(45, 55))
    assert coded(path) == [False, True, False]
    assert index.info()["kinds"]["dense"]["choice"] == (
        "rabitq, since 30 passages > 20; flat, since 10 to 15 passages in each of 2 segments <= 20"
    )
    exact = Index.build(
        documents(0, 55), tmp_path / "x", config(tiny_encoder_dir, storage="flat"), encoder=encoder
    )
    questions = [document.text for document in documents(0, 55)[::6]]
    for where in (None, {"even": True}):
        expected = exact.search_batch(questions, 2, using="dense", where=where)
        for compacted in (False, True):
            if compacted:
                index.compact()
            found = index.search_batch(questions, 2, using="dense", where=where)
            same = [
                abs(hit.score - best.score) < 1e-5
                for hits, bests in zip(found, expected, strict=True)
                for hit, best in zip(hits, bests, strict=True)
            ]
            assert sum(same) >= 0.9 * len(same)
            if where is not None:
                assert all(hit.passage.metadata["even"] for hits in found for hit in hits)
    assert coded(path)[-1]
    assert index.info()["kinds"]["dense"]["choice"] == "rabitq, since 55 passages > 20"
    record = index.info()["kinds"]["dense"]
    assert (record["storage"], record["codes"]) == ("auto", 1)
    index.delete(str(i) for i in range(40))
    index.compact()
    assert coded(path)[-1] is False
    assert index.info()["kinds"]["dense"]["choice"] == "flat, since 15 passages <= 20"
    index.close()
    exact.close()


@pytest.mark.usefixtures("small")
def test_an_index_with_codes_is_searched_where_nothing_compiles(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tiny_encoder_dir)
    index = Index.build(documents(0, 30), tmp_path / "i", settings, encoder=encoder)
    monkeypatch.setattr(bitscan, "available", lambda: False)
    assert coded(tmp_path / "i") == [True]
    assert index.search("tower tower moon", 1, using="dense")[0].passage.doc_id == "4"
    index.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("dim", [None, 8])
def test_a_plan_predicts_the_choice(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder, dim: int | None
) -> None:
    settings = config(tiny_encoder_dir, dim=dim)
    for count in (18, 60):
        path = tmp_path / str(count)
        plan = plan_index(
            path, documents(0, count), settings, encoder=encoder, progress=lambda *_: None
        )
        with Index.build(documents(0, count), path, settings, encoder=encoder) as index:
            facts = index.info()
        assert plan.facts()["dense"] == facts["kinds"]["dense"]["choice"]
        assert plan.bytes["dense"] == pytest.approx(facts["bytes"]["dense"], rel=0.15, abs=600)
        assert facts["kinds"]["dense"].get("dim") == dim


def test_too_many_dimensions_are_told_before_anything_is_encoded(
    tmp_path: Path, tiny_encoder_dir: Path, encoder: Encoder
) -> None:
    settings = config(tiny_encoder_dir, dim=33)
    stages: list[str] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        stages.append(stage)

    with pytest.raises(InputError, match=r"index\.dense\.dim=33: .*32 dimensions"):
        Index.build(documents(0, 3), tmp_path / "i", settings, encoder=encoder, progress=progress)
    assert set(stages) == {"chunk"}
    assert not (tmp_path / "i").exists()
    with pytest.raises(InputError, match="set it to 32 or less"):
        plan_index(tmp_path / "i", documents(0, 3), settings, encoder=encoder, progress=progress)
