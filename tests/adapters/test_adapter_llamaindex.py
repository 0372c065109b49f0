import asyncio

import pytest

from ragib.config import Config, RetrieverConfig
from ragib.errors import ConfigError, InputError

pytest.importorskip("llama_index.core")

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from ragib.adapters.llamaindex import RagibCompressor, RagibRetriever

QUESTION = "Who built the bridge?"


def ids(nodes):
    return [one.node.ref_doc_id for one in nodes]


def is_verbatim(one, texts):
    place = slice(one.node.start_char_idx, one.node.end_char_idx)
    return texts[one.node.ref_doc_id][place] == one.node.text


def test_a_hit_becomes_a_node(index, texts):
    (hit,) = index.search("bridge of stone", 1)
    (found,) = RagibRetriever(index, RetrieverConfig(k=1)).retrieve("bridge of stone")
    assert found.score == hit.score
    assert found.node_id == hit.passage.id
    assert found.node.start_char_idx == hit.passage.start > 0
    assert found.metadata == {
        "year": 1200,
        "score": "mine",
        "doc_id": "bridge",
        "passage_id": hit.passage.id,
        "title": "Bridge",
    }
    assert is_verbatim(found, texts)
    read = found.node.get_content(MetadataMode.LLM)
    assert "title: Bridge" in read
    assert "passage_id" not in read


def test_filters_and_groups_pass_through(index):
    assert ids(RagibRetriever(index, where={"year": 1300}).retrieve("built")) == ["tower"]
    assert RagibRetriever(index, where={}).retrieve("built") == []
    assert ids(RagibRetriever(index).retrieve("vault")) == []
    assert ids(RagibRetriever(index, allow=("court",)).retrieve("vault")) == ["crown"]
    assert RagibRetriever(index, allow=()).retrieve("vault") == []


def test_a_wrong_call_is_refused(index):
    with pytest.raises(InputError, match="must not be empty"):
        RagibRetriever(index).retrieve("")
    with pytest.raises(InputError, match="list of group names"):
        RagibRetriever(index, allow="court")
    with pytest.raises(ConfigError, match="did you mean 'truncate'"):
        RagibCompressor(compressor="trunkate")
    with pytest.raises(InputError, match="give query_str"):
        RagibCompressor(compressor="none").postprocess_nodes([])


def test_async_is_the_same(index, config):
    retriever, compressor = RagibRetriever(index, config), RagibCompressor(compressor=config)

    async def ask():
        found = await retriever.aretrieve(QUESTION)
        return found, await compressor.apostprocess_nodes(found, query_str=QUESTION)

    found, kept = asyncio.run(ask())
    assert found == retriever.retrieve(QueryBundle(QUESTION))
    assert kept == compressor.postprocess_nodes(found, query_str=QUESTION)
    assert kept


def test_evidence_is_verbatim_in_a_query_engine(index, texts, config):
    engine = RetrieverQueryEngine(
        RagibRetriever(index, config),
        NoText(llm=MockLLM()),
        [RagibCompressor(compressor=config)],
    )
    kept = engine.query(QUESTION).source_nodes
    assert kept[0].text == "The king built a bridge of stone."
    assert all(is_verbatim(one, texts) for one in kept)
    first = kept[0].node
    assert first.node_id == (
        f"{first.metadata['passage_id']}:{first.start_char_idx}-{first.end_char_idx}"
    )
    assert first.metadata["title"] == "Bridge"
    assert "passage_id" not in first.get_content(MetadataMode.LLM)
    assert kept[0].score >= 0.1


def test_nodes_of_another_retriever_are_compressed_too(config):
    text = "It rained. The king built a bridge."
    given = [
        NodeWithScore(node=TextNode(id_="n", text=text, metadata={"title": ["no", "text"]})),
        NodeWithScore(node=TextNode(id_="empty", text="")),
    ]
    (kept,) = RagibCompressor(compressor=config).postprocess_nodes(given, query_str=QUESTION)
    assert kept.node_id == "n:11-35"
    assert kept.text == text[kept.node.start_char_idx : kept.node.end_char_idx]
    assert given[0].text == text
    assert RagibCompressor(compressor=config).postprocess_nodes([], query_str=QUESTION) == []


@pytest.mark.parametrize("keeping", ["bm25-sentence", "section", "whole"])
def test_a_saved_compressor_keeps_the_same(index, config, keeping):
    choices = {"section": config.compressor, "whole": config}
    compressor = RagibCompressor(compressor=choices.get(keeping, keeping))
    loaded = RagibCompressor.from_dict(compressor.to_dict())
    assert loaded.compressor == compressor.compressor
    assert isinstance(loaded.compressor, Config) == (keeping == "whole")
    found = RagibRetriever(index).retrieve(QUESTION)
    kept = compressor.postprocess_nodes(found, query_str=QUESTION)
    assert loaded.postprocess_nodes(found, query_str=QUESTION) == kept != []
