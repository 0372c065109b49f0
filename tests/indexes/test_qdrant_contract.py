"""The same questions to an index directory and to a Qdrant store get the same answers.

With `RAGIB_QDRANT_URL` set (and `QDRANT_API_KEY`, if it asks for one), a real server is asked too;
on this machine, or forwarded to it, since tests may reach no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from ragib.config import MultiVectorConfig, RetrieverConfig, StoreConfig
from ragib.errors import InputError, StoreError
from ragib.indexes.index import Index
from ragib.indexes.qdrant.connect import Server, connect
from ragib.indexes.qdrant.generation import QdrantGeneration
from ragib.indexes.qdrant.push import push
from ragib.indexes.snapshot import Snapshot
from ragib.retriever import Retriever
from ragib.types import Document
from tests.indexes.store_contract import (
    ALLOW,
    QUESTIONS,
    TOLERANCE,
    WHERE,
    assert_same,
    build,
    ids,
    sparse_config,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]

URL = os.environ.get("RAGIB_QDRANT_URL")
ALL = StoreConfig(name="qdrant", candidates=0)


@pytest.fixture(scope="module")
def native(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(tmp_path_factory.mktemp("store") / "idx", tiny_encoder_dir)


def server_of(name: str) -> Server:
    if name == "server":
        if URL is None:
            pytest.skip("RAGIB_QDRANT_URL is not set")
        return connect(URL, "QDRANT_API_KEY")
    return Server(QdrantClient(":memory:"), ":memory:", "QDRANT_API_KEY")


@pytest.fixture(scope="module", params=["memory", "server"])
def server(request: pytest.FixtureRequest, native: Index) -> Iterator[Server]:
    opened = server_of(request.param)
    push(Snapshot(native.path), opened, "ragib-contract", lambda *step: None)
    yield opened
    if request.param == "server":
        for collection in opened.client.get_collections().collections:
            if collection.name.startswith("ragib-contract-"):
                opened.client.delete_collection(collection.name)
    opened.client.close()


@pytest.fixture(params=["native", "qdrant"])
def index(request: pytest.FixtureRequest, native: Index, server: Server) -> Index:
    """Both stores, to which all of the contract applies."""
    return native if request.param == "native" else pushed(server, native)


def pushed(server: Server, native: Index, store: StoreConfig = ALL) -> Index:
    return Index(QdrantGeneration(server, "ragib-contract", store), native.encoder)


@pytest.mark.parametrize("using", ["dense", "sparse", "multivector"])
def test_same_passages_and_scores(native: Index, index: Index, using: str) -> None:
    for k in (1, 3, 10, 1000):
        found = index.search_batch(QUESTIONS, k, using=using)
        everything = native.search_batch(QUESTIONS, 1000, using=using)
        for hits, reference in zip(found, everything, strict=True):
            assert_same(hits, reference, k)
            assert [hit.ranks[using] for hit in hits] == list(range(1, len(hits) + 1))
            if using == "sparse":  # equal scores are equal here too, and go by row
                assert ids(hits) == ids(reference[:k])


@pytest.mark.parametrize(
    "how",
    [
        {"depth": 1000},
        {"depth": 1000, "fusion": "rrf"},
        {"depth": 1000, "weights": {"dense": 0.2, "sparse": 2}},
        {"depth": 7},
        {"depth": 7, "where": {"lang": "en"}},
    ],
)
def test_same_fusion(native: Index, index: Index, how: dict[str, object]) -> None:
    for k in (1, 10):
        # What is fused depends on the depth, so the reference has the same.
        everything = native.search_batch(QUESTIONS, k if how["depth"] == 7 else 1000, **how)
        found = index.search_batch(QUESTIONS, k, **how)
        for hits, reference in zip(found, everything, strict=True):
            assert_same(hits, reference, k)
            assert set().union(*(hit.ranks for hit in hits)) <= {"dense", "sparse", "multivector"}


@pytest.mark.parametrize("where", WHERE, ids=str)
def test_same_filters(native: Index, index: Index, where: dict[str, object]) -> None:
    reference = native.search(QUESTIONS[0], 1000, using="dense", where=where)
    assert_same(index.search(QUESTIONS[0], 1000, using="dense", where=where), reference, 1000)
    if where == {}:
        assert reference == []


@pytest.mark.parametrize("using", ["sparse", "multivector", "hybrid"])
def test_filters_come_before_the_cut(native: Index, index: Index, using: str) -> None:
    for year in (1900, 1905, 1929):
        where = {"year": year}
        reference = native.search(QUESTIONS[2], 50, using=using, where=where)
        assert_same(index.search(QUESTIONS[2], 1, using=using, where=where), reference, 1)


@pytest.mark.parametrize("allow", ALLOW, ids=repr)
def test_same_access(native: Index, index: Index, allow: tuple[str, ...]) -> None:
    for using in ("dense", "hybrid"):
        reference = native.search(QUESTIONS[1], 1000, using=using, allow=allow, depth=1000)
        found = index.search(QUESTIONS[1], 1000, using=using, allow=allow, depth=1000)
        assert_same(found, reference, 1000)
        assert all(set(allow) & set(hit.passage.access) for hit in found)


def test_what_cannot_be_asked(index: Index) -> None:
    for bad, message in [
        ({"question": " "}, "must not be empty"),
        ({"question": ""}, "must not be empty"),
        ({"k": 0}, "k:"),
        ({"where": {"year": {"get": 3}}}, "did you mean 'gt'"),
        ({"where": {"year": [[1]]}}, "expected a string"),
        ({"where": "year=3"}, "keys and values"),
        ({"allow": "public"}, "list of group names"),
        ({"weights": {"dense": 0, "sparse": 0, "multivector": 0}}, "all weights are 0"),
    ]:
        with pytest.raises(InputError, match=message):
            index.search(**{"question": "king", **bad})
    with pytest.raises(InputError, match="no passage 'none'"):
        index.passage("none")
    assert index.search_batch([]) == []


def test_unknown_words_find_nothing_by_terms(index: Index) -> None:
    assert index.search("xyzzy plugh", using="sparse") == []
    assert index.search("the of", using="sparse") == []
    assert index.search_batch(["xyzzy", "king"], 1, using="sparse")[0] == []


def test_passages_come_back_as_they_were(native: Index, index: Index) -> None:
    assert list(index.passages()) == list(native.passages())
    assert len(index) == len(native) == len(list(native.passages()))
    first = next(native.passages())
    assert index.passage(first.id) == first
    assert index.config == native.config
    assert index.encoder is native.encoder
    for key in ("documents", "passages", "generation", "restricted", "encoder"):
        assert index.info()[key] == native.info()[key]


def test_a_retriever_takes_either(native: Index, index: Index) -> None:
    config = RetrieverConfig(k=4, using="hybrid", depth=1000)
    everything = Retriever(native, config.model_copy(update={"k": 1000})).retrieve(QUESTIONS)
    for hits, reference in zip(
        Retriever(index, config).retrieve(QUESTIONS), everything, strict=True
    ):
        assert_same(hits, reference, 4)


def test_what_was_deleted_is_not_pushed(native: Index, server: Server) -> None:
    index = pushed(server, native)
    assert not {"gone", "gone too"} & {passage.doc_id for passage in index.passages()}
    collection = QdrantGeneration(server, "ragib-contract", ALL).collection
    records, _ = server.client.scroll(collection, limit=10_000)
    assert "never pushed" not in str([record.payload for record in records])
    assert "zz" not in str([record.payload.get("values") for record in records])


def test_candidates_bound_what_maxsim_looks_at(native: Index, server: Server) -> None:
    everything = native.search(QUESTIONS[0], 1000, using="multivector")
    wide = pushed(server, native, StoreConfig(name="qdrant", candidates=1000))
    assert_same(wide.search(QUESTIONS[0], 10, using="multivector"), everything, 10)
    narrow = pushed(server, native, StoreConfig(name="qdrant", candidates=1))
    found = narrow.search(QUESTIONS[0], 1000, using="multivector")
    near = {ids(native.search(QUESTIONS[0], 1016, using=u))[0] for u in ("dense", "sparse")}
    assert near <= set(ids(found))
    scores = {hit.passage.id: hit.score for hit in everything}
    for hit in found:
        assert hit.score == pytest.approx(scores[hit.passage.id], abs=TOLERANCE)


def test_dense_search_is_exact_unless_told_otherwise(
    native: Index, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    send = server.client.query_batch_points

    def listen(collection: str, requests: Any) -> Any:
        asked.extend(requests)
        return send(collection, requests=requests)

    monkeypatch.setattr(server.client, "query_batch_points", listen)
    walking = StoreConfig(name="qdrant", hnsw_ef=64)
    for store, expected in ((ALL, (True, None)), (walking, (False, 64))):
        asked.clear()
        pushed(server, native, store).search("king", 3, using="dense")
        (request,) = asked
        assert (bool(request.params.exact), request.params.hnsw_ef) == expected


def test_only_the_directory_can_be_changed(server: Server, native: Index) -> None:
    index = pushed(server, native)
    for change in (
        lambda: index.add([Document("x", "text")]),
        lambda: index.delete(["x"]),
        lambda: index.compact(),
        lambda: index.path,
    ):
        with pytest.raises(StoreError, match=r"cannot be changed there.*ragib push"):
            change()
    assert index.refresh() is index
    assert len(index) == len(native)


@pytest.mark.parametrize("storage", ["int4", "1bit"])
def test_token_vectors_of_few_bits(tmp_path: Path, tiny_encoder_dir: Path, storage: str) -> None:
    few = MultiVectorConfig(dim=16, storage=storage)
    native = build(tmp_path / "idx", tiny_encoder_dir, kinds=("multivector",), multivector=few)
    server = server_of("memory")
    push(Snapshot(tmp_path / "idx"), server, "bits", lambda *step: None)
    index = Index(QdrantGeneration(server, "bits", ALL), native.encoder)
    for question in QUESTIONS:  # of all passages: here all are scored again with the finer bits
        assert_same(index.search(question, 1000), native.search(question, 1000), 1000)


@pytest.mark.parametrize("engine", ["bm25s", "rank-bm25"])
def test_bm25_alone(tmp_path: Path, tiny_encoder_dir: Path, engine: str) -> None:
    native = build(tmp_path / "idx", tiny_encoder_dir, **sparse_config(engine))
    server = server_of("memory")
    push(Snapshot(tmp_path / "idx"), server, "terms", lambda *step: None)
    index = Index(QdrantGeneration(server, "terms", ALL), None)
    for question in QUESTIONS:
        reference = native.search(question, 1000)
        assert reference
        found = index.search(question, 5)
        assert_same(found, reference, 5)
        assert ids(found) == ids(reference[:5])
    with pytest.raises(InputError, match="no encoder"):
        _ = index.encoder
