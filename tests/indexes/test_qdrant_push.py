"""Pushing: resumed, switched in one step, and never in the way of what is searched."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from ragib.config import IndexConfig, StoreConfig
from ragib.errors import InputError, StoreError
from ragib.indexes.index import Index
from ragib.indexes.qdrant import points
from ragib.indexes.qdrant.alias import aliases, collections
from ragib.indexes.qdrant.connect import Server
from ragib.indexes.qdrant.generation import QdrantGeneration
from ragib.indexes.qdrant.head import HeadReader, make_head, parts
from ragib.indexes.qdrant.layout import point_id
from ragib.indexes.qdrant.push import Pushed, push
from ragib.indexes.snapshot import Snapshot
from ragib.types import Document

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]

SPARSE = IndexConfig(kinds=("sparse",))
STORE = StoreConfig(name="qdrant")


@pytest.fixture
def server() -> Server:
    return Server(QdrantClient(":memory:"), ":memory:", "KEY")


@pytest.fixture
def native(tmp_path: Path) -> Index:
    documents = [
        Document(f"d{i}", f"Poem number {i} of the king.", metadata={"n": i}) for i in range(9)
    ]
    return Index.build(documents, tmp_path / "idx", SPARSE)


def pushed(native: Index, server: Server, **how: Any) -> Pushed:
    silent: Callable[..., None] = lambda *step: None  # noqa: E731
    return push(Snapshot(native.path), server, "poems", how.get("progress", silent))


def opened(server: Server) -> Index:
    return Index(QdrantGeneration(server, "poems", STORE), None)


def found(index: Index) -> set[str]:
    return {hit.passage.doc_id for hit in index.search("poem", 50)}


def test_a_generation_is_switched_to_in_one_step(native: Index, server: Server) -> None:
    first = pushed(native, server)
    assert (first.passages, first.sent, first.present) == (9, 9, 0)
    assert aliases(server) == {"poems": first.collection}
    reader = opened(server)
    native.add([Document("new", "Another poem.")])
    native.delete(["d0"])
    second = pushed(native, server)
    assert aliases(server) == {"poems": second.collection}
    assert (second.sent, second.removed, second.unfinished) == (9, [], [])
    assert found(reader) == {f"d{i}" for i in range(9)}  # the old one is kept for who reads it
    assert found(reader.refresh()) == {"new", *(f"d{i}" for i in range(1, 9))}
    native.delete(["d1"])
    third = pushed(native, server)
    assert third.removed == [first.collection]
    assert collections(server) == sorted([second.collection, third.collection])


def test_scores_are_those_of_the_generation_that_was_pushed(native: Index, server: Server) -> None:
    pushed(native, server)
    before = [hit.score for hit in opened(server).search("king 3")]
    native.delete(["d1", "d2"])
    assert [hit.score for hit in opened(server).search("king 3")] == before
    pushed(native, server)
    after = [hit.score for hit in opened(server).search("king 3")]
    assert after == pytest.approx([hit.score for hit in native.search("king 3")], abs=1e-5)
    assert after != before


def test_pushing_again_sends_nothing(native: Index, server: Server) -> None:
    first = pushed(native, server)
    again = pushed(native, server)
    assert (again.sent, again.present, again.removed) == (0, 9, [])
    assert again.collection == first.collection
    native.delete(["d1"])
    second = pushed(native, server)
    pushed(native, server)
    assert collections(server) == sorted([first.collection, second.collection])


def test_an_interrupted_push_goes_on(
    native: Index, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_NUMBERS", 20)
    pushed(native, server)
    before = aliases(server)
    native.add([Document("new", "Another poem of the king.")])

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushed(native, server, progress=interrupt)
    assert aliases(server) == before
    assert found(opened(server)) == {f"d{i}" for i in range(9)}
    steps = []
    again = pushed(native, server, progress=lambda *step: steps.append(step))
    assert again.passages == 10 and 0 < again.present < 10
    assert again.sent + again.present == 10
    assert steps[-1] == ("push", 10, 10) and steps[0][1] > again.present
    assert found(opened(server)) == {"new", *(f"d{i}" for i in range(9))}


def test_a_push_that_was_given_up_is_told(
    native: Index, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushed(native, server, progress=interrupt)
    (given_up,) = collections(server)
    native.delete(["d1"])
    done = pushed(native, server)
    assert done.unfinished == [given_up] and done.removed == []
    assert given_up in collections(server)


def test_collections_of_others_are_left_alone(native: Index, server: Server) -> None:
    config = {"x": models.VectorParams(size=2, distance=models.Distance.DOT)}
    for name in ("poems-2", "poems-000001-0123abc", "other-000001-01234567"):
        server.client.create_collection(name, vectors_config=config)
    for i in range(3):
        pushed(native, server)
        native.delete([f"d{i}"])
    last = pushed(native, server)
    assert {"poems-2", "poems-000001-0123abc", "other-000001-01234567"} < {*collections(server)}
    assert len(last.removed) == 1
    server.client.update_collection_aliases(
        change_aliases_operations=[
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(
                    collection_name=last.collection, alias_name="kept for later"
                )
            )
        ]
    )
    for i in range(3, 5):
        native.delete([f"d{i}"])
        pushed(native, server)
    assert last.collection in collections(server)


def test_a_collection_in_the_way(native: Index, server: Server) -> None:
    config = {"x": models.VectorParams(size=2, distance=models.Distance.DOT)}
    server.client.create_collection("poems", vectors_config=config)
    with pytest.raises(StoreError, match=r"'poems' is a collection.*--collection"):
        pushed(native, server)
    with pytest.raises(StoreError, match="was not pushed by ragib"):
        opened(server)


def test_a_collection_of_another_shape(native: Index, server: Server) -> None:
    name = pushed(native, server).collection
    server.client.delete_collection(name)
    config = {"dense": models.VectorParams(size=2, distance=models.Distance.DOT)}
    server.client.create_collection(name, vectors_config=config)
    with pytest.raises(StoreError, match=r"has the vectors .*dense.*delete it, then push again"):
        pushed(native, server)


def test_points_of_others_are_found(native: Index, server: Server) -> None:
    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pushed(native, server, progress=stop)
    (name,) = collections(server)
    server.client.upsert(name, [models.PointStruct(id=77, vector={}, payload={})])
    with pytest.raises(StoreError, match="holds 11 points and not 10"):
        pushed(native, server)
    assert aliases(server) == {}


def test_what_cannot_be_pushed_or_opened(native: Index, server: Server, tmp_path: Path) -> None:
    snapshot = Snapshot(native.path)
    for name in ("", "a/b", "..", "x" * 300, "tab\t"):
        with pytest.raises(InputError, match="cannot be the name of a collection"):
            push(snapshot, server, name, lambda *step: None)
    with pytest.raises(StoreError, match=r"no collection 'poems'; push an index there"):
        opened(server)
    native.delete([f"d{i}" for i in range(9)])
    with pytest.raises(InputError, match="nothing to push"):
        pushed(native, server)
    assert collections(server) == []


def test_a_layout_of_the_future_is_refused(native: Index, server: Server) -> None:
    name = pushed(native, server).collection
    server.client.set_payload(name, {"layout": 99}, [point_id("manifest")])
    with pytest.raises(StoreError, match=r"has layout 99.*upgrade ragib"):
        opened(server)


def test_a_passage_that_somebody_deleted(native: Index, server: Server) -> None:
    name = pushed(native, server).collection
    reader = opened(server)
    server.client.delete(name, models.PointIdsList(points=[3]))
    with pytest.raises(StoreError, match="is gone"):
        reader._open().rows([2, 3])


def test_terms_and_strings_come_in_parts(native: Index, server: Server) -> None:
    terms = [f"term{i}" for i in range(3000)]
    strings = sorted({f"s{i * 7919 % 5003:05d}" for i in range(2500)})
    ranks = {"a": {"x": 0}, "key": {text: i for i, text in enumerate(strings)}}
    head = make_head(Snapshot(native.path).manifest, {"sparse": 0}, terms, ["n"], ranks)
    server.client.create_collection("c", vectors_config={})
    pieces = dict(parts(head, terms, ranks, None))
    points = [models.PointStruct(id=point_id(n), vector={}, payload=p) for n, p in pieces.items()]
    server.client.upsert("c", points)
    reader = HeadReader(server, "c")
    assert reader.head() == head
    assert list(pieces)[-1] == "manifest" and len(pieces) > 6
    assert reader.numbers(head, ["term7", "none", "term2999"]) == {"term7": 7, "term2999": 2999}
    assert reader.numbers(head, terms) == {term: i for i, term in enumerate(terms)}
    for text in ("", "a", "s", "s00000", "s02500", "s025005", strings[1000], strings[-1], "z"):
        expected = bisect_left(strings, text), bisect_right(strings, text)
        assert reader.ranks(head, "key", text) == expected
    assert reader.projection() is None
