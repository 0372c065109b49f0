"""Predictions against what a build then makes, and builds that will not fit."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, DenseConfig, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.encoders import Encoder, load_encoder
from ragib.errors import IndexDirError, InputError
from ragib.indexes import room
from ragib.indexes.index import Index
from ragib.indexes.plan import Plan, plan_index
from ragib.indexes.survey import cut_sample, survey
from ragib.indexes.verify import verify
from ragib.types import Document

WORDS = [
    *"king queen river bridge tower moon star water stone iron gold author poem war peace".split(),
    *(f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in "bdgklmnprst"),
]


def silent(stage: str, done: int, total: int | None) -> None: ...


def texts(count: int, sentences: tuple[int, int], seed: int) -> list[Document]:
    rng = random.Random(seed)

    def sentence() -> str:
        # Words are as unequally frequent as those of a language.
        chosen = (WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(rng.randint(5, 12)))
        return " ".join(chosen).capitalize() + "."

    return [
        Document(
            f"{seed}-{i}",
            " ".join(sentence() for _ in range(rng.randint(*sentences))),
            title=f"Title {i}",
            metadata={"year": i},
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(model=str(tiny_encoder_dir), device="cpu", max_tokens=128))


CHUNK = ChunkConfig(max_tokens=60, overlap_tokens=10)
SPARSE = IndexConfig(kinds=("sparse",), chunk=CHUNK)


def config(tiny_encoder_dir: Path, **values: object) -> IndexConfig:
    model = EncoderConfig(model=str(tiny_encoder_dir), device="cpu", max_tokens=128)
    return IndexConfig(encoder=model, chunk=CHUNK, **values)


@pytest.mark.parametrize(
    ("dense", "multivector"),
    [
        (DenseConfig(), MultiVectorConfig(dim=16, pool_factor=1)),
        (DenseConfig(storage="sq8"), MultiVectorConfig(dim=16, pool_factor=2.5)),
        (DenseConfig(storage="hnsw"), MultiVectorConfig(dim=64, pool_factor=2, rescore=0)),
        (DenseConfig(storage="rabitq"), MultiVectorConfig(dim=8, pool_factor=6)),
    ],
    ids=lambda value: getattr(value, "storage", ""),
)
def test_bytes_are_those_of_the_build(
    tiny_encoder_dir: Path,
    encoder: Encoder,
    tmp_path: Path,
    dense: DenseConfig,
    multivector: MultiVectorConfig,
) -> None:
    settings = config(tiny_encoder_dir, dense=dense, multivector=multivector)
    documents = texts(200, (1, 9), 0)
    plan = plan_index(tmp_path / "i", documents, settings, encoder=encoder, progress=silent)
    assert not (tmp_path / "i").exists()
    with Index.build(documents, tmp_path / "i", settings, encoder=encoder) as index:
        facts = index.info()
    assert plan.documents == facts["documents"] == 200
    assert plan.passages == pytest.approx(facts["passages"], rel=0.1)
    for kind, size in plan.bytes.items():
        assert size == pytest.approx(facts["bytes"][kind], rel=0.15), kind
    assert plan.facts()["bytes"]["total"] == sum(plan.bytes.values())
    assert plan.disk > sum(plan.bytes.values())
    assert plan.memory > 50e6
    assert set(plan.seconds) == {"chunk", "project", "encode", "merge"}
    assert min(plan.seconds.values()) >= 0


@pytest.mark.parametrize("seed", range(3))
def test_a_few_long_documents_are_not_missed(seed: int) -> None:
    documents = [
        *texts(300, (1, 2), 10 * seed),
        *texts(60, (10, 30), 10 * seed + 1),
        *texts(4, (2000, 4000), 10 * seed + 2),
    ]
    random.Random(seed).shuffle(documents)
    with_all = cut_sample(survey(documents[:30], silent), CHUNK, None)
    assert with_all.share == pytest.approx(1, abs=0.7)
    cut = cut_sample(survey(documents, silent), CHUNK, None)
    everything = sum(
        cut_sample(survey([document], silent), CHUNK, None).passages for document in documents
    )
    assert cut.documents == len(documents)
    assert cut.passages == pytest.approx(everything, rel=0.05)
    assert 0 < cut.share < 1
    assert 300 <= len(cut.sample) <= 450


def test_a_small_corpus_is_counted_exactly(tmp_path: Path) -> None:
    documents = texts(30, (1, 30), 3)
    plan = plan_index(tmp_path / "i", documents, SPARSE, progress=silent)
    with Index.build(documents, tmp_path / "i", SPARSE) as index:
        assert plan.passages == len(index)


@pytest.mark.parametrize(
    ("documents", "message"),
    [([], "no documents"), ([Document("x", "  ")], "has no text"), ([Document("", "a")], "its id")],
)
def test_what_cannot_be_built_cannot_be_planned(
    tmp_path: Path, documents: list[Document], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plan_index(tmp_path / "i", documents, SPARSE, progress=silent)


def with_free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_a_disk_that_is_too_small_is_told_before_encoding(
    tmp_path: Path,
    tiny_encoder_dir: Path,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, documents = tmp_path / "i", texts(50, (1, 9), 4)
    settings = config(tiny_encoder_dir)
    plan = plan_index(path, documents, settings, encoder=encoder, progress=silent)
    plan.check()
    stages: list[str] = []
    with_free(monkeypatch, plan.disk // 3)
    with pytest.raises(IndexDirError, match=r"bytes are needed and .* are free.*Free some space"):
        plan.check()
    with pytest.raises(IndexDirError, match="bytes are needed"):
        Index.build(
            documents,
            path,
            settings,
            encoder=encoder,
            progress=lambda stage, *_: stages.append(stage),
        )
    assert set(stages) == {"chunk"}
    assert not path.exists()
    with_free(monkeypatch, plan.disk * 2)
    assert len(Index.build(documents, path, settings, encoder=encoder)) == plan.passages


def test_adding_what_does_not_fit_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i"
    index = Index.build(texts(3, (1, 2), 5), path, SPARSE)
    before = list(index.passages())
    with_free(monkeypatch, 2000)
    with pytest.raises(IndexDirError, match="bytes are needed"):
        index.add(texts(200, (5, 9), 6))
    assert list(Index.open(path, verify=True).passages()) == before
    assert verify(path) == []


def test_memory_that_is_too_small_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = texts(50, (1, 9), 7)
    plan = plan_index(tmp_path / "i", documents, SPARSE, progress=silent)
    monkeypatch.setattr(room, "free_memory", lambda: plan.more_memory // 2)
    with pytest.raises(IndexDirError, match=r"not enough memory.* are free; close"):
        plan.check()
    with pytest.raises(IndexDirError, match="not enough memory"):
        Index.build(documents, tmp_path / "i", SPARSE)
    assert not (tmp_path / "i").exists()
    monkeypatch.setattr(room, "free_memory", lambda: None)
    Index.build(documents, tmp_path / "i", SPARSE).close()


def test_finished_work_needs_no_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 1_000_000)
    with pytest.raises(IndexDirError):
        room.check_room(tmp_path, 5_000_000, 0)
    done = tmp_path / ".build" / "done" / "encode"
    done.mkdir(parents=True)
    (done / "part").write_bytes(bytes(4_000_000))
    room.check_room(tmp_path, 5_000_000, 0)


@pytest.mark.parametrize(
    ("machine", "group", "free"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   4000 kB\n", {}, 4_096_000),
        ("MemAvailable: 4000 kB\n", {"max": "max\n", "current": "5\n", "stat": ""}, 4_096_000),
        (
            "MemAvailable: 4000 kB\n",
            {"max": "9000\n", "current": "5000\n", "stat": "anon 7\ninactive_file 1000\n"},
            5000,
        ),
        ("MemAvailable: 4000 kB\n", {"max": "9\n", "current": "10\n", "stat": ""}, 0),
        ("nothing of use", {}, None),
    ],
)
def test_free_memory_is_the_least_of_machine_and_container(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    group: dict[str, str],
    free: int | None,
) -> None:
    (tmp_path / "meminfo").write_text(machine)
    for name, content in group.items():
        (tmp_path / f"memory.{name}").write_text(content)
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    assert room.free_memory() == free


def test_a_plan_of_nothing_but_numbers(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "a" / "b", 1, 2, {"passages": 10}, 20, 30, 5, {"chunk": 1.0})
    facts = plan.facts()
    assert facts["bytes"] == {"passages": 10, "total": 10}
    assert facts["bytes_per_passage"] == 5
    assert facts["building"]["seconds"] == {"chunk": 1.0, "total": 1.0}
    assert facts["free"]["disk"] > 0
