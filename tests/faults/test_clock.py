"""A clock that goes backwards, or was wrong: generations are counted, never dated."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, IndexConfig
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))
DATES = {"1970": 0.0, "2100": 4_102_444_800.0}


class Backwards(datetime):
    """A clock that loses a day whenever it is looked at."""

    looks = 0

    @classmethod
    def now(cls, tz=None):
        cls.looks += 1
        return datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=cls.looks)


@pytest.fixture(autouse=True)
def backwards(monkeypatch):
    monkeypatch.setattr("ragib.indexes.write.datetime", Backwards)


def date(path: Path, seconds: float) -> None:
    for file in [path, *path.rglob("*")]:
        os.utime(file, (seconds, seconds))


def version(n: int, size: int = 6) -> list[Document]:
    return [Document(f"d{i}", f"Version v{n} poem.", f"t{n}") for i in range(size)]


def texts(path: Path) -> set[str]:
    with Index.open(path, verify=True) as index:
        found = {hit.passage.text for hit in index.search("poem", 50)}
        assert found == {passage.text for passage in index.passages()}
        return found


@pytest.mark.parametrize("when", DATES.values(), ids=DATES.keys())
def test_the_latest_generation_counts(tmp_path, when):
    path = tmp_path / "idx"
    created = [Index.build(version(0), path, CONFIG).info()["created"]]
    for n in range(1, 6):
        date(path, when)
        with Index.open(path) as index:
            index.add(version(n))
            assert texts(path) == {f"Version v{n} poem."}
            if n % 2:
                index.compact()
            created.append(index.info()["created"])
    assert created == sorted(created, reverse=True)  # the clock did go backwards
    assert Index.open(path).delete(["d0"]) == 1
    date(path, when)
    Index.build(version(9, 3), path, CONFIG, overwrite=True).close()
    assert texts(path) == {"Version v9 poem."}
    assert verify(path) == []
    assert len(list((path / "generations").iterdir())) == 1  # nothing old was kept as new


@pytest.mark.parametrize("when", DATES.values(), ids=DATES.keys())
def test_finished_work_is_found_whatever_its_date(tmp_path, monkeypatch, when):
    monkeypatch.setattr("ragib.indexes.build.SHARD", 2)
    path = tmp_path / "idx"
    documents = [Document(f"d{i}", f"Poem {i}.") for i in range(6)]

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if stage == "encode" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(documents, path, CONFIG, progress=interrupt)
    date(path, when)
    done: list[int] = []
    Index.build(
        documents,
        path,
        CONFIG,
        progress=lambda stage, count, _: done.append(count) if stage == "encode" else None,
    )
    assert done[0] == 4
    assert texts(path) == {document.text for document in documents}
