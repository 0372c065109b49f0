import json
import os
import threading
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.errors import IndexDirError, IndexLockedError, InputError
from ragib.indexes.index import Index
from ragib.indexes.lock import writing
from ragib.indexes.verify import verify
from ragib.types import Document

SPARSE = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=12, overlap_tokens=0))


@pytest.fixture
def all_kinds(tiny_encoder_dir: Path) -> IndexConfig:
    return IndexConfig(
        encoder=EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu"),
        chunk=ChunkConfig(max_tokens=16, overlap_tokens=0),
        multivector=MultiVectorConfig(dim=8),
    )


def corpus(n: int = 12) -> list[Document]:
    return [
        Document(
            f"d{i}",
            f"The king of city {i} built bridge number {i}. The queen wrote poem {i} by the river.",
            title=f"City {i}",
            metadata={"number": i, "parity": ["even", "odd"][i % 2]},
        )
        for i in range(n)
    ]


def ids(hits):
    return [hit.passage.id for hit in hits]


def docs(hits):
    return {hit.passage.doc_id for hit in hits}


def test_build_search_and_offsets(tmp_path):
    documents = corpus()
    index = Index.build(documents, tmp_path / "idx", SPARSE)
    assert len(index) == 24
    hits = index.search("poem 7", 3)
    assert hits[0].passage.doc_id == "d7" and hits[0].passage.title == "City 7"
    assert hits[0].ranks == {"sparse": 1} and hits[0].scores == {"sparse": hits[0].score}
    for hit in hits:
        text = documents[int(hit.passage.doc_id[1:])].text
        assert text[hit.passage.start : hit.passage.end] == hit.passage.text
    assert [hit.ranks["sparse"] for hit in hits] == [1, 2, 3]
    assert index.passage(hits[0].passage.id) == hits[0].passage
    assert [p.id for p in index.passages()] == [f"d{i}#{n}" for i in range(12) for n in (0, 1)]


def test_batch_equals_single(tmp_path):
    index = Index.build(corpus(), tmp_path / "idx", SPARSE)
    questions = ["bridge 3", "queen", "nothing of the kind xyzzy"]
    assert index.search_batch(questions, 5) == [index.search(q, 5) for q in questions]
    assert index.search("xyzzy") == []
    assert index.search_batch([]) == []


def test_all_kinds_fused(tmp_path, all_kinds):
    index = Index.build(corpus(), tmp_path / "idx", all_kinds)
    hits = index.search("who built bridge number 5", 5)
    assert len(hits) == 5
    assert set().union(*(hit.ranks for hit in hits)) == {"dense", "multivector", "sparse"}
    assert hits == sorted(hits, key=lambda hit: -hit.score)
    for kind in ("dense", "multivector", "sparse"):
        alone = index.search("who built bridge number 5", 5, using=kind)
        assert [hit.ranks[kind] for hit in alone] == list(range(1, len(alone) + 1))
        assert all(set(hit.ranks) == {kind} for hit in alone)
    only = index.search("who built bridge number 5", 5, weights={"dense": 0, "multivector": 0})
    assert (
        only[0].passage == index.search("who built bridge number 5", 1, using="sparse")[0].passage
    )
    assert index.search("bridge", 5, fusion="rrf")
    assert verify(tmp_path / "idx") == []


def test_all_kinds_survive_changes(tmp_path, all_kinds):
    documents = corpus(20)
    index = Index.build(documents[:12], tmp_path / "idx", all_kinds)
    index.add(documents[8:])
    index.delete(["d0", "d19"])
    before = {
        kind: index.search("queen poem 9", 30, using=kind)
        for kind in ("dense", "multivector", "sparse")
    }
    assert docs(before["dense"]) == {f"d{i}" for i in range(1, 19)}
    index.compact()
    for kind, hits in before.items():
        after = index.search("queen poem 9", 30, using=kind)
        assert [hit.score for hit in after] == pytest.approx([hit.score for hit in hits], abs=1e-5)
        assert docs(after) == docs(hits)
    checked = Index.open(tmp_path / "idx", verify=True)
    assert [s["passages"] for s in checked.info()["segments"]] == [len(index)]


def test_add_replaces_documents(tmp_path):
    index = Index.build(corpus(4), tmp_path / "idx", SPARSE)
    assert (
        index.add([Document("d1", "A ship of gold."), Document("new", "A ship of iron.")]) is index
    )
    assert docs(index.search("ship")) == {"d1", "new"}
    assert docs(index.search("poem", 20)) == {"d0", "d2", "d3"}
    assert len(index) == 8
    info = index.info()
    assert (info["documents"], info["deleted_passages"], len(info["segments"])) == (5, 2, 2)
    with pytest.raises(InputError, match="no passage 'd1#1'"):
        index.passage("d1#1")
    assert index.passage("d1#0").text == "A ship of gold."


def test_adding_nothing_changes_nothing(tmp_path):
    index = Index.build(corpus(4), tmp_path / "idx", SPARSE)
    assert index.add([]).info()["generation"] == 1


def test_delete_names_what_is_missing(tmp_path):
    index = Index.build(corpus(4), tmp_path / "idx", SPARSE)
    with pytest.raises(InputError, match=r"'d9'.*nothing was deleted"):
        index.delete(["d1", "d9"])
    assert len(index) == 8
    assert index.delete(["d1", "d9", "d1"], missing_ok=True) == 1
    assert index.delete(["d1"], missing_ok=True) == 0
    with pytest.raises(InputError, match="one string"):
        index.delete("d1")
    assert docs(index.search("poem", 20)) == {"d0", "d2", "d3"}


def test_everything_deleted_and_back(tmp_path):
    index = Index.build(corpus(3), tmp_path / "idx", SPARSE)
    index.delete(["d0", "d1", "d2"])
    assert len(index) == 0 and index.search("poem") == []
    index.compact()
    assert index.info()["segments"] == [] and index.search("poem") == []
    assert verify(tmp_path / "idx") == []
    index.add(corpus(2))
    assert docs(index.search("poem")) == {"d0", "d1"}


def test_compact_keeps_metadata_and_access_and_frees_files(tmp_path):
    documents = [
        Document("a", "One poem.", metadata={"x": [1, {"y": None}]}, access=("staff", "boss")),
        Document("b", "Two poems.", access=()),
        Document("c", "Three poems."),
    ]
    index = Index.build(documents, tmp_path / "idx", SPARSE)
    index.add([Document("d", "Four poems.")])
    index.delete(["c"])
    index.compact()
    hit = index.search("poem", allow=["boss"])[0]
    assert hit.passage.metadata == {"x": [1, {"y": None}]}
    assert hit.passage.access == ("boss", "staff")
    assert [p.doc_id for p in index.passages()] == ["a", "b", "d"]
    assert [path.name for path in (tmp_path / "idx" / "segments").iterdir()] == ["000004"]
    assert list((tmp_path / "idx" / "tombstones").iterdir()) == []
    generation = index.info()["generation"]
    assert index.compact().info()["generation"] == generation


def test_access_lists(tmp_path):
    documents = [
        Document("open", "A poem."),
        Document("staff", "A poem.", access=("staff",)),
        Document("both", "A poem.", access=("staff", "public")),
        Document("nobody", "A poem.", access=()),
    ]
    index = Index.build(documents, tmp_path / "idx", SPARSE)
    assert docs(index.search("poem")) == {"open", "both"}
    assert docs(index.search("poem", allow=["staff"])) == {"staff", "both"}
    assert docs(index.search("poem", allow={"staff", "public"})) == {"open", "staff", "both"}
    assert index.search("poem", allow=()) == []
    with pytest.raises(InputError, match="list of group names"):
        index.search("poem", allow="public")
    assert index.info()["restricted"] is True
    unrestricted = Index.build([Document("o", "A poem.")], tmp_path / "open", SPARSE)
    assert unrestricted.search("poem", allow=()) == []
    assert unrestricted.search("poem", allow=["staff"]) == []


def test_filters(tmp_path):
    index = Index.build(corpus(), tmp_path / "idx", SPARSE)
    index.delete(["d4"])
    index.add([Document("d12", "poem", metadata={"number": 12, "parity": "even"})])
    found = docs(index.search("poem", 50, where={"parity": "even", "number": {"gte": 4}}))
    assert found == {"d6", "d8", "d10", "d12"}
    assert index.search("poem", where={}) == []
    assert index.search("poem", where={"parity": []}) == []
    assert index.search("poem", where={"parity": "none"}) == []
    with pytest.raises(InputError, match=r"'get'.*did you mean"):
        index.search("poem", where={"number": {"get": 3}})


def test_filter_comes_before_the_cut(tmp_path):
    index = Index.build(corpus(), tmp_path / "idx", SPARSE)
    for i in range(12):
        assert docs(index.search("poem king", 1, where={"number": i})) == {f"d{i}"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": " "}, "must not be empty"),
        ({"k": 0}, "k:"),
        ({"depth": 0}, "depth:"),
        ({"using": "dense"}, "'dense' is not in this index"),
        ({"using": "both"}, "using:"),
        ({"fusion": "sum"}, "fusion:"),
        ({"weights": {"dense": 1.0}}, "'dense' is not in this index"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    index = Index.build(corpus(2), tmp_path / "idx", SPARSE)
    with pytest.raises(InputError, match=message):
        index.search(**({"question": "poem"} | arguments))


def test_one_string_is_no_batch(tmp_path):
    index = Index.build(corpus(2), tmp_path / "idx", SPARSE)
    with pytest.raises(InputError, match="one string"):
        index.search_batch("poem")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document("", "text"), "its id"),
        (Document(3, "text"), "its id"),
        (Document("x", " \n"), "no text"),
        (Document("d0", "again"), "unique"),
        (Document("x", "half \ud800 a pair"), "surrogate"),
        (Document("x", "text", metadata={"a": float("nan")}), "not JSON"),
        (Document("x", "text", metadata={"a": {1, 2}}), "not JSON"),
        (Document("x", "text", access="public"), "list of group names"),
    ],
)
def test_bad_documents_change_nothing(tmp_path, document, message):
    path = tmp_path / "new" / "idx"
    with pytest.raises(InputError, match=message):
        Index.build([*corpus(2), document], path, SPARSE)
    assert not path.exists()
    index = Index.build(corpus(2), path, SPARSE)
    with pytest.raises(InputError, match=message):
        index.add([*corpus(1), document])
    assert Index.open(path).info()["generation"] == 1
    assert len(index.add([Document("fine", "text")])) == 5


def test_directories_that_will_not_do(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("x")
    for name, message in [("file", "it is a file"), ("full", "holds no index")]:
        with pytest.raises(IndexDirError, match=message):
            Index.build(corpus(1), tmp_path / name, SPARSE)
        with pytest.raises(IndexDirError, match="not an index"):
            Index.open(tmp_path / name)
    with pytest.raises(IndexDirError, match="no such directory"):
        Index.open(tmp_path / "none")
    assert (tmp_path / "full" / "letter.txt").read_text() == "x"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no documents"):
        Index.build([], tmp_path / "empty", SPARSE)
    assert list((tmp_path / "empty").iterdir()) == []


def test_overwrite_replaces_in_one_step(tmp_path):
    path = tmp_path / "idx"
    old = Index.build(corpus(4), path, SPARSE)
    with pytest.raises(IndexDirError, match="--overwrite"):
        Index.build(corpus(2), path, SPARSE)
    with pytest.raises(InputError):
        Index.build([Document("", "x")], path, SPARSE, overwrite=True)
    new = Index.build([Document("z", "A new poem.")], path, SPARSE, overwrite=True)
    assert docs(new.search("poem")) == {"z"}
    assert len(docs(old.search("poem", 20))) == 4  # still at its generation
    assert docs(old.refresh().search("poem")) == {"z"}


def test_a_reader_keeps_its_generation_though_it_searches_late(tmp_path):
    path = tmp_path / "idx"
    Index.build(corpus(4), path, SPARSE)
    late = Index.open(path)
    writer = Index.open(path)
    writer.add([Document("new", "A poem.")])
    writer.delete(["d0"])
    writer.compact()
    assert docs(late.search("poem", 20)) == {"d0", "d1", "d2", "d3"}
    assert docs(late.refresh().search("poem", 20)) == {"d1", "d2", "d3", "new"}
    del late
    writer.add([Document("newer", "A poem.")])
    assert len(list((path / "generations").iterdir())) == 1


def test_second_writer_is_refused(tmp_path):
    path = tmp_path / "idx"
    index = Index.build(corpus(2), path, SPARSE)
    with writing(path), pytest.raises(IndexLockedError, match=f"process {os.getpid()} on "):
        index.delete(["d0"])
    assert index.delete(["d0"]) == 1


def test_closed(tmp_path):
    with Index.build(corpus(2), tmp_path / "idx", SPARSE) as index:
        assert len(index) == 4
    with pytest.raises(IndexDirError, match="closed"):
        index.search("poem")


def test_searching_from_threads(tmp_path, all_kinds):
    index = Index.build(corpus(), tmp_path / "idx", all_kinds)
    expected = index.search("queen 5", 5)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(index.search("queen 5", 5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


def test_info_is_json_and_adds_up(tmp_path, all_kinds):
    index = Index.build(corpus(), tmp_path / "idx", all_kinds)
    info = json.loads(json.dumps(index.info()))
    assert info["documents"] == 12 and info["passages"] == len(index)
    assert set(info["kinds"]) == {"dense", "multivector", "sparse"}
    parts = ["passages", *info["kinds"]]
    projection = (tmp_path / "idx" / info["projection"]).stat().st_size
    assert info["bytes"]["total"] == sum(info["bytes"][part] for part in parts) + projection
    assert info["encoder"]["revision"] and info["seconds"]["encode"] > 0


def test_another_encoder_is_refused(tmp_path, all_kinds):
    class Other:
        name, revision = "other", "abc"

    Index.build(corpus(2), tmp_path / "idx", all_kinds)
    index = Index.open(tmp_path / "idx", encoder=Other())
    assert index.search("poem", using="sparse")
    for use in (lambda: index.search("poem"), lambda: index.add(corpus(1))):
        with pytest.raises(IndexDirError, match=r"at revision .* but this is other at abc"):
            use()


def test_sparse_index_has_no_encoder(tmp_path):
    with pytest.raises(InputError, match="no encoder"):
        _ = Index.build(corpus(2), tmp_path / "idx", SPARSE).encoder


def test_progress_reaches_its_totals(tmp_path, all_kinds):
    seen = {}
    Index.build(
        corpus(), tmp_path / "idx", all_kinds, progress=lambda *step: seen.update({step[0]: step})
    )
    assert seen["chunk"] == ("chunk", 12, None)
    assert seen["encode"][1] == seen["encode"][2] > 0
    assert seen["merge"] == ("merge", 3, 3)
