import asyncio

import pytest

from ragib.config import RetrieverConfig
from ragib.errors import ConfigError, InputError

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

from ragib.adapters.langchain import RagibCompressor, RagibRetriever

QUESTION = "Who built the bridge?"


def ids(documents):
    return [document.metadata["doc_id"] for document in documents]


def is_verbatim(document, texts):
    place = slice(document.metadata["start"], document.metadata["end"])
    return texts[document.metadata["doc_id"]][place] == document.page_content


def test_a_hit_becomes_a_document(index, texts):
    (hit,) = index.search("bridge of stone", 1)
    (found,) = RagibRetriever(index=index, config=RetrieverConfig(k=1)).invoke("bridge of stone")
    assert found.id == hit.passage.id
    assert found.page_content == hit.passage.text
    assert found.metadata == {
        "year": 1200,
        "doc_id": "bridge",
        "passage_id": hit.passage.id,
        "title": "Bridge",
        "start": hit.passage.start,
        "end": hit.passage.end,
        "score": hit.score,
    }
    assert hit.passage.start > 0
    assert is_verbatim(found, texts)


@pytest.mark.parametrize("config", [RetrieverConfig(k=1), None])
def test_it_follows_its_configuration(index, config):
    found = RagibRetriever(index=index, config=config).invoke("built")
    assert len(found) == (1 if config else 2)


def test_filters_and_groups_pass_through(index):
    retriever = RagibRetriever(index=index, where={"year": {"lt": 1300}})
    assert ids(retriever.invoke("built")) == ["bridge"]
    assert ids(retriever.invoke("built", where={"year": 1300})) == ["tower"]
    assert retriever.invoke("built", where={}) == []
    assert ids(RagibRetriever(index=index).invoke("vault")) == []
    assert ids(RagibRetriever(index=index).invoke("vault", allow=["court"])) == ["crown"]
    court = RagibRetriever(index=index, allow=("court",))
    assert ids(court.invoke("built")) == ["crown"]
    assert court.invoke("built", allow=[]) == []
    assert ids(court.batch(["built"], allow=["public"], where={"year": 1300})[0]) == ["tower"]


def test_a_wrong_call_is_refused(index):
    retriever = RagibRetriever(index=index)
    with pytest.raises(InputError, match="must not be empty"):
        retriever.invoke(" ")
    with pytest.raises(InputError, match="list of group names"):
        retriever.invoke("built", allow="court")
    with pytest.raises(TypeError, match="alow"):
        retriever.invoke("built", alow=["court"])
    with pytest.raises(ValidationError, match="index"):
        RagibRetriever(index="idx")
    with pytest.raises(ConfigError, match="did you mean 'truncate'"):
        RagibCompressor(compressor="trunkate")
    with pytest.raises(InputError, match="must not be empty"):
        RagibCompressor(compressor="none").compress_documents([Document("text")], "")


def test_async_is_the_same(index, config):
    retriever, compressor = RagibRetriever(index=index), RagibCompressor(compressor=config)
    found = retriever.invoke("built", allow=["court"])
    assert asyncio.run(retriever.ainvoke("built", allow=["court"])) == found
    found = retriever.invoke(QUESTION)
    kept = compressor.compress_documents(found, QUESTION)
    assert asyncio.run(compressor.acompress_documents(found, QUESTION)) == kept
    assert kept


def test_evidence_is_verbatim_in_a_chain(index, texts, config):
    retriever = RagibRetriever(index=index, config=config)
    compressor = RagibCompressor(compressor=config)
    chain = {"documents": retriever, "query": RunnablePassthrough()} | RunnableLambda(
        lambda found: compressor.compress_documents(**found)
    )
    kept = chain.invoke(QUESTION)
    assert kept[0].page_content == "The king built a bridge of stone."
    assert sum(len(one.page_content) for one in kept) < sum(
        len(one.page_content) for one in retriever.invoke(QUESTION)
    )
    assert all(is_verbatim(one, texts) for one in kept)
    first = kept[0]
    place = f"{first.metadata['start']}-{first.metadata['end']}"
    assert first.id == f"{first.metadata['passage_id']}:{place}"
    assert first.metadata["title"] == "Bridge"
    assert first.metadata["year"] == 1200
    assert first.metadata["score"] >= 0.1


def test_documents_of_another_retriever_are_compressed_too(config):
    given = [
        Document("It rained. The king built a bridge.", metadata={"source": "a.txt", "start": "x"}),
        Document("", id="empty"),
    ]
    (kept,) = RagibCompressor(compressor=config).compress_documents(given, QUESTION)
    assert kept.page_content == "The king built a bridge."
    assert kept.id is None
    assert kept.metadata["source"] == "a.txt"
    assert (kept.metadata["start"], kept.metadata["end"]) == (11, 35)
    assert given[0].metadata == {"source": "a.txt", "start": "x"}
    assert RagibCompressor(compressor=config).compress_documents([], QUESTION) == []
