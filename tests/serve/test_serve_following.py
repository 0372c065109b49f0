"""A server whose index is changed: it moves on by itself, and never tears a request."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, EncoderConfig, IndexConfig, RetrieverConfig
from ragib.errors import IndexDirError
from ragib.indexes.index import Index
from ragib.indexes.snapshot import Snapshot
from ragib.pipeline import RAG
from ragib.retriever import Retriever
from ragib.serve.app import build_app
from ragib.serve.settings import Settings
from ragib.types import Document
from tests.serve.pipelines import FirstSentence, Scripted, call, client_of

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))


def version(n: int) -> list[Document]:
    return [Document(f"d{i}", f"Version v{n} river.") for i in range(4)]


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "idx"
    Index.build(version(0), path, CONFIG).close()
    return path


@pytest.fixture
def always(monkeypatch):
    """Look at every request."""
    monkeypatch.setattr("ragib.serve.following.SECONDS", 0.0)


def serving(path: Path):
    index = Index.open(path)
    retriever = Retriever(index, RetrieverConfig(k=9))
    return index, build_app(RAG(retriever, FirstSentence(), Scripted()), Settings())


def texts(response) -> set[str]:
    assert response.status_code == 200, response.text
    hits = response.json()["hits"]
    assert len(hits) == len({hit["passage"]["id"] for hit in hits})
    return {hit["passage"]["text"] for hit in hits}


def found(app) -> set[str]:
    return texts(call(app, "POST", "/search", json={"question": "river"}))


def test_what_changes_is_served(path, always):
    _, app = serving(path)
    assert found(app) == {"Version v0 river."}
    for n in (1, 2):
        with Index.open(path) as writer:
            writer.add(version(n))
        assert found(app) == {f"Version v{n} river."}
    with Index.open(path) as writer:
        writer.delete(["d0", "d1", "d2"])
        writer.compact()
    assert found(app) == {"Version v2 river."}
    Index.build(version(3), path, CONFIG, overwrite=True).close()
    assert found(app) == {"Version v3 river."}


def test_the_old_generation_is_let_go(path, always):
    _, app = serving(path)
    found(app)
    with Index.open(path) as writer:
        writer.add(version(1)).compact()
    assert len(list((path / "generations").iterdir())) == 2  # the server's own is still there
    found(app)
    with Index.open(path) as writer:
        writer.delete(["d0"])
    assert len(list((path / "generations").iterdir())) <= 2
    assert len(list((path / "segments").iterdir())) == 1


def test_a_request_under_way_stays_where_it_began(path, always, monkeypatch):
    index, app = serving(path)
    begun, go_on = threading.Event(), threading.Event()
    find = Snapshot.find

    def slow(snapshot, *arguments):
        if not begun.is_set():
            begun.set()
            assert go_on.wait(60)
        return find(snapshot, *arguments)

    monkeypatch.setattr(Snapshot, "find", slow)

    async def both():
        async with client_of(app) as client:
            body = {"question": "river"}
            first = asyncio.create_task(client.post("/search", json=body))
            await asyncio.to_thread(begun.wait, 60)
            with Index.open(path) as writer:
                writer.add(version(1)).compact()
            second = await client.post("/search", json=body)
            assert not first.done()
            go_on.set()
            return texts(await first), texts(second)

    assert asyncio.run(both()) == ({"Version v0 river."}, {"Version v1 river."})
    assert index.info()["generation"] == 3


def test_it_looks_once_a_second_at_most(path, monkeypatch):
    looks = []
    monkeypatch.setattr(Index, "follow", lambda self: looks.append(self))
    now = [100.0]
    monkeypatch.setattr("ragib.serve.following.monotonic", lambda: now[0])
    _, app = serving(path)
    for _ in range(3):
        found(app)
    assert looks == []
    for count in (1, 2):
        now[0] += 1.1
        for _ in range(3):
            found(app)
        assert len(looks) == count


def test_a_generation_that_cannot_be_opened_is_not_served(path, always, monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr("ragib.serve.following.monotonic", lambda: now[0])
    _, app = serving(path)
    with Index.open(path) as writer:
        writer.add(version(1))
    broken = next((path / "segments" / "000002" / "sparse").glob("rows.npy"))
    sound = shutil.copyfile(broken, path.with_name("aside"))
    broken.write_bytes(bytes(broken.stat().st_size))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert found(app) == {"Version v0 river."}
    [record] = caplog.records
    assert "the index is served as it was" in record.message and "rows.npy" in record.message
    shutil.copyfile(sound, broken)
    now[0] += 61
    assert found(app) == {"Version v1 river."}


def test_an_index_built_another_way_is_not_followed(path, tiny_encoder_dir):
    held = Index.open(path)
    encoder = EncoderConfig(model=str(tiny_encoder_dir), device="cpu")
    other = CONFIG.model_copy(update={"kinds": ("sparse", "dense"), "encoder": encoder})
    Index.build(version(1), path, other, overwrite=True).close()
    with pytest.raises(IndexDirError, match="another encoder or other kinds"):
        held.follow()
    assert {hit.passage.text for hit in held.search("river")} == {"Version v0 river."}
    assert Index.open(path).follow() is False
