import asyncio

import pytest

from ragib.config import RetrieverConfig
from ragib.errors import ConfigError, IndexDirError, InputError

pytest.importorskip("haystack")

from haystack import Document, Pipeline
from haystack.telemetry import _telemetry

from ragib.adapters.haystack import RagibCompressor, RagibRetriever

QUESTION = "Who built the bridge?"
ALLOWED = ["ragib.adapters.haystack"]


def ids(documents):
    return [document.meta["doc_id"] for document in documents]


def is_verbatim(document, texts):
    place = slice(document.meta["start"], document.meta["end"])
    return texts[document.meta["doc_id"]][place] == document.content


def joined(pipeline, retriever, compressor):
    pipeline.add_component("retriever", retriever)
    pipeline.add_component("compressor", compressor)
    pipeline.connect("retriever.documents", "compressor.documents")
    return pipeline


def asking(question=QUESTION, **more):
    return {"retriever": {"query": question, **more}, "compressor": {"query": question}}


def test_the_tests_send_no_usage_statistics():
    assert _telemetry.telemetry is None


def test_a_hit_becomes_a_document(index, texts):
    (hit,) = index.search("bridge of stone", 1)
    retriever = RagibRetriever(index, RetrieverConfig(k=1))
    (found,) = retriever.run("bridge of stone")["documents"]
    assert (found.id, found.content, found.score) == (hit.passage.id, hit.passage.text, hit.score)
    assert found.meta == {
        "year": 1200,
        "score": "mine",
        "doc_id": "bridge",
        "passage_id": hit.passage.id,
        "title": "Bridge",
        "start": hit.passage.start,
        "end": hit.passage.end,
    }
    assert hit.passage.start > 0
    assert is_verbatim(found, texts)


def test_filters_and_groups_pass_through(index):
    pipeline = Pipeline()
    pipeline.add_component("retriever", RagibRetriever(index, where={"year": {"lt": 1300}}))

    def found(**filters):
        asked = {"retriever": {"query": "built vault", **filters}}
        return ids(pipeline.run(asked)["retriever"]["documents"])

    assert found() == ["bridge"]
    assert found(where={"year": 1300}) == ["tower"]
    assert found(where={}) == []
    assert found(allow=["court"], where={"year": {"exists": False}}) == ["crown"]
    assert found(where={"year": {"exists": False}}) == []
    assert found(allow=[]) == []
    assert ids(RagibRetriever(index, allow=("court",)).run("built")["documents"]) == ["crown"]


def test_a_wrong_call_is_refused(index, tmp_path):
    with pytest.raises(InputError, match="must not be empty"):
        RagibRetriever(index).run("")
    with pytest.raises(InputError, match="list of group names"):
        RagibRetriever(index, allow="court")
    with pytest.raises(IndexDirError, match="nowhere"):
        RagibRetriever(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="did you mean 'truncate'"):
        RagibCompressor("trunkate")
    with pytest.raises(InputError, match="must not be empty"):
        RagibCompressor("none").run(" ", [Document(content="text")])


def test_evidence_is_verbatim_in_a_pipeline(index, texts, config):
    pipeline = joined(Pipeline(), RagibRetriever(index, config), RagibCompressor(config))
    kept = pipeline.run(asking())["compressor"]["documents"]
    assert kept[0].content == "The king built a bridge of stone."
    assert all(is_verbatim(one, texts) for one in kept)
    meta = kept[0].meta
    assert kept[0].id == f"{meta['passage_id']}:{meta['start']}-{meta['end']}"
    assert (meta["title"], meta["year"]) == ("Bridge", 1200)
    assert kept[0].score >= 0.1


def test_async_is_the_same(index, config):
    pipeline = joined(Pipeline(), RagibRetriever(index, config), RagibCompressor(config))
    more = {"allow": ["public", "court"], "where": {"year": {"exists": False}}}
    kept = pipeline.run(asking("Where is the crown?", **more))
    assert asyncio.run(pipeline.run_async(asking("Where is the crown?", **more))) == kept
    assert ids(kept["compressor"]["documents"]) == ["crown"]


@pytest.mark.parametrize("by_path", [True, False])
def test_a_saved_pipeline_does_the_same(index, config, by_path):
    where = {"year": 1200}
    retriever = RagibRetriever(
        str(index.path) if by_path else index, config, where, allow=("public", "court")
    )
    pipeline = joined(Pipeline(), retriever, RagibCompressor(config))
    saved = pipeline.dumps()
    loaded = Pipeline.loads(saved, allowed_modules=ALLOWED)
    assert loaded.dumps() == saved
    kept = pipeline.run(asking())["compressor"]["documents"]
    assert loaded.run(asking())["compressor"]["documents"] == kept != []
    parts = pipeline.to_dict()["components"]
    assert parts["retriever"]["init_parameters"] == {
        "index": str(index.path),
        "config": {"k": 2},
        "where": where,
        "allow": ["public", "court"],
    }
    assert parts["compressor"]["init_parameters"] == {
        "compressor": {"name": "bm25-sentence", "threshold": 0.1}
    }


def test_a_filter_on_a_type_is_no_class(index):
    retriever = RagibRetriever(index, where={"type": "os.path"})
    assert RagibRetriever.from_dict(retriever.to_dict()).to_dict() == retriever.to_dict()


def test_a_pipeline_written_by_hand_may_leave_out_what_is_usual(index):
    saved = {"type": "ragib.adapters.haystack.RagibRetriever"}
    retriever = RagibRetriever.from_dict({**saved, "init_parameters": {"index": str(index.path)}})
    assert sorted(ids(retriever.run("built")["documents"])) == ["bridge", "tower"]
    wrong = {"index": str(index.path), "config": {"kk": 3}}
    with pytest.raises(ConfigError, match=r"RagibRetriever: unknown key 'retriever\.kk'"):
        RagibRetriever.from_dict({**saved, "init_parameters": wrong})
    compressor = RagibCompressor.from_dict({"init_parameters": {"compressor": "none"}})
    assert compressor.run("q", [Document(content="text")])["documents"][0].content == "text"


def test_documents_of_another_retriever_are_compressed_too(config):
    given = [
        Document(id="n", content="It rained. The king built a bridge.", meta={"file": "a.txt"}),
        Document(id="no-text"),
    ]
    (kept,) = RagibCompressor(config).run(QUESTION, given)["documents"]
    assert kept.id == "n:11-35"
    assert kept.meta == {"file": "a.txt", "start": 11, "end": 35}
    assert given[0].meta == {"file": "a.txt"}
    assert RagibCompressor(config).run(QUESTION, [])["documents"] == []
