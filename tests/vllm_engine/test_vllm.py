"""The whole way of a question through the real engine, in this process and over HTTP.

Random weights write nonsense, so what is checked is what holds of any text: counts, citations
verbatim or flagged, pieces that join to the answer, and the same answer by every way of asking.
"""

from __future__ import annotations

import asyncio

import pytest

from ragib.config import parse_config
from ragib.errors import GenerationError
from ragib.generators.base import Request
from ragib.generators.chat import tokens
from ragib.generators.prompt import chat
from ragib.pipeline import RAG
from ragib.types import Answer, Evidence

pytest.importorskip("vllm", reason="the vLLM engine is not installed; run: make test-vllm")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # the engine's own, of which there are many
]

QUESTIONS = ["Who built the bridge?", "Where is the tower?", "Who wrote the poem?"]
MAX_TOKENS = 32


def pipeline(index, **generator):
    values = {
        "retriever": {"k": 3},
        "compressor": {"name": "bm25-sentence", "keep": 0.6},
        "generator": {"max_tokens": MAX_TOKENS, **generator},
    }
    return RAG.from_config(parse_config(values, "test"), index=index)


@pytest.fixture(scope="module")
def in_process(index, llama):
    engine_args = {"enforce_eager": True, "max_model_len": 4096, "dtype": "float32"}
    rag = pipeline(index, name="vllm", model=str(llama), engine_args=engine_args)
    yield rag
    rag.close()


@pytest.fixture(scope="module")
def over_http(index, server):
    return pipeline(index, name="openai", model="tiny", base_url=server)


@pytest.fixture(params=["in_process", "over_http"])
def rag(request):
    return request.getfixturevalue(request.param)


def request_of(answer):
    titles = {hit.passage.id: hit.passage.title for hit in answer.hits}
    return Request(answer.question, answer.evidence, titles)


def counts(answer):
    return answer.usage["prompt_tokens"], answer.usage["completion_tokens"]


def essence(answer):
    return answer.text, answer.citations, answer.evidence, answer.abstained, answer.flags


def check(answer, llama):
    from transformers import AutoTokenizer

    assert isinstance(answer, Answer)
    assert not any(flag.startswith("generation-failed") for flag in answer.flags)
    assert 0 < answer.usage["words_kept"] < answer.usage["words_in"]
    assert 1 <= answer.usage["completion_tokens"] <= MAX_TOKENS
    prompt = tokens(AutoTokenizer.from_pretrained(llama), chat(request_of(answer)))
    assert answer.usage["prompt_tokens"] == len(prompt)
    assert answer.timings["generate"] > 0
    assert bool(answer.text) != answer.abstained
    passages = {hit.passage.id: hit.passage for hit in answer.hits}
    for citation in answer.citations:
        passage = passages[citation.passage_id]
        start, end = citation.start - passage.start, citation.end - passage.start
        assert passage.text[start:end] == citation.text


def test_a_batch_is_answered_in_order_and_alike_when_asked_again(rag, llama):
    answers = rag.ask_batch(QUESTIONS)
    assert [answer.question for answer in answers] == QUESTIONS
    for answer in answers:
        check(answer, llama)
    assert len({answer.text for answer in answers}) > 1
    assert any(answer.citations for answer in answers)
    assert any("unverified-citation" in answer.flags for answer in answers)
    assert [essence(a) for a in rag.ask_batch(QUESTIONS)] == [essence(a) for a in answers]


def test_every_way_of_asking_gives_the_same_answer(rag, llama):
    for question in QUESTIONS:
        answer = rag.ask(question)
        check(answer, llama)
        *pieces, streamed = rag.stream(question)
        assert "".join(pieces) == streamed.text
        assert len(pieces) > 1
        assert essence(streamed) == essence(answer)
        assert counts(streamed) == counts(answer)
        assert streamed.usage["first_token_ms"] > 0
        assert streamed.usage["tokens_per_second"] > 0
        assert essence(asyncio.run(rag.aask(question))) == essence(answer)


def test_the_server_and_the_engine_agree(in_process, over_http):
    for question in QUESTIONS:
        assert essence(over_http.ask(question)) == essence(in_process.ask(question))


def test_the_engine_agrees_with_transformers(in_process, index, llama):
    other = pipeline(index, name="transformers", model=str(llama))
    for question in QUESTIONS:
        ours, theirs = in_process.ask(question), other.ask(question)
        # They differ in whether a last character of which bytes are missing is shown.
        assert ours.text.rstrip("\ufffd") == theirs.text.rstrip("\ufffd")
        assert essence(ours)[1:] == essence(theirs)[1:]
        assert counts(ours) == counts(theirs)


def test_leaving_a_stream_early_leaves_the_engine_free(rag, llama):
    stream = rag.stream(QUESTIONS[0])
    assert isinstance(next(stream), str)
    stream.close()
    check(rag.ask(QUESTIONS[1]), llama)


def test_one_may_ask_in_the_middle_of_a_stream(rag, llama):
    expected = rag.ask(QUESTIONS[0]).text
    stream = rag.stream(QUESTIONS[0])
    pieces = [next(stream)]
    other = rag.stream(QUESTIONS[2])
    next(other)
    check(rag.ask(QUESTIONS[1]), llama)
    *rest, last = stream
    assert "".join([*pieces, *rest]) == last.text == expected
    other.close()


def test_many_at_once(rag, llama):
    async def crowd():
        return await asyncio.gather(*(rag.aask(question) for question in QUESTIONS * 3))

    answers = asyncio.run(crowd())
    assert [answer.question for answer in answers] == QUESTIONS * 3
    for answer in answers:
        check(answer, llama)


def test_a_prompt_that_does_not_fit_costs_no_other(rag):
    long = "night " * 2000
    fits = Request("Who?", (Evidence("p", 0, 3, "Ada", 1.0),))
    too_long = Request("Who?", (Evidence("p", 0, len(long), long, 1.0),))
    first, second, third = rag.generator.generate([fits, too_long, fits])
    assert (first.text, first.quotes, first.error) == (third.text, third.quotes, None)
    assert "4096" in second.error

    async def follow():
        return [part async for part in rag.generator.stream(too_long)]

    with pytest.raises(GenerationError, match="4096"):
        asyncio.run(follow())


def test_access_lists_hold_all_the_way(rag):
    question = "Where was the queen?"
    seen = {hit.passage.doc_id for hit in rag.ask(question).hits}
    assert seen
    assert "secret" not in seen
    answer = rag.ask(question, allow=("staff",))
    assert {hit.passage.doc_id for hit in answer.hits} == {"secret"}
    assert {citation.doc_id for citation in answer.citations} <= {"secret"}
    nothing = rag.ask(question, allow=())
    assert (nothing.abstained, nothing.hits, nothing.text) == (True, (), "")


def test_sampling_repeats_with_its_seed(in_process, index, llama, server):
    def sample(seed):
        rag = pipeline(
            index, name="openai", model="tiny", base_url=server, temperature=1.0, seed=seed
        )
        return rag.ask(QUESTIONS[0]).text

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)


def test_an_engine_that_cannot_start_is_a_clear_error(index, tmp_path):
    rag = pipeline(index, name="vllm", model=str(tmp_path), engine_args={"enforce_eager": True})
    with pytest.raises(GenerationError, match="vLLM cannot start with the model"):
        rag.ask(QUESTIONS[0])


def test_a_closed_engine_starts_again(in_process):
    before = in_process.ask(QUESTIONS[0])
    in_process.close()
    assert essence(in_process.ask(QUESTIONS[0])) == essence(before)
