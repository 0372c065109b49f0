"""Prefix caching, stop strings and structured answers on the real engine."""

from __future__ import annotations

import asyncio
import re
from itertools import product

import pytest
from tiny_llama import make_tiny_llama

from ragib.config import GeneratorConfig, parse_config
from ragib.generators.base import Request
from ragib.generators.ordering import Ordered
from ragib.generators.registry import load_generator
from ragib.pipeline import RAG
from ragib.types import Evidence

pytest.importorskip("vllm", reason="the vLLM engine is not installed; run: make test-vllm")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # the engine's own, of which there are many
]

BLOCK = 32
ENGINE_ARGS = {
    "enforce_eager": True,
    "max_model_len": 4096,
    "dtype": "float32",
    "block_size": BLOCK,
}
SAID = ("king", "queen", "tower", "bridge", "was", "old", "new", "war", "peace")
A, B, C = (f"The {word} stands by the river. " * 4 for word in ("tower", "bridge", "mill"))


def load(**values):
    config = {"max_tokens": 16, **values}
    if config["name"] == "vllm":
        config["engine_args"] = ENGINE_ARGS
    return load_generator(GeneratorConfig.model_validate(config))


@pytest.fixture(scope="module")
def in_process(llama):
    generator = load(name="vllm", model=str(llama))
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def over_http(server):
    return load(name="openai", model="tiny", base_url=server)


@pytest.fixture(params=["in_process", "over_http"])
def generator(request):
    return request.getfixturevalue(request.param)


def request(*texts, salt=None, question="Who built it?"):
    pieces = tuple(Evidence(f"p{n}", 0, len(t), t, 1.0) for n, t in enumerate(texts))
    return Request(question, pieces, salt=salt)


def cached(generator, *requests):
    return [generator.generate([one])[0].usage.get("cached_tokens", 0) for one in requests]


def test_what_was_read_is_not_read_again_but_by_another_group(generator):
    prompt = generator.generate([request(A, salt="one")])[0].usage["prompt_tokens"]
    again, other, public = cached(
        generator, request(A, salt="one"), request(A, salt="two"), request(B, A)
    )
    assert prompt - 128 <= again < prompt  # in whole blocks, of up to 128 tokens
    assert other == 0
    assert public < again


def test_groups_of_the_pipeline_share_no_prefix(in_process, index):
    config = parse_config({"compressor": {"name": "none"}}, "test")
    rag = RAG.from_config(config, index=index)
    rag = RAG(rag.retriever, rag.compressor, in_process)
    found = [
        rag.ask("Where was the queen?", allow=("staff", group)).usage["cached_tokens"]
        for group in ("x", "x", "y")
    ]
    assert found[0] == found[2] == 0 < found[1]


def test_passages_in_the_order_of_the_cache_are_read_once(in_process):
    ordered = Ordered(in_process)
    plain = cached(in_process, request(A, B, C, salt="p"), request(C, B, A, salt="p"))
    better = cached(ordered, request(A, B, C, salt="q"), request(C, B, A, salt="q"))
    assert plain[0] == better[0] == 0
    assert better[1] - plain[1] > len(A + B + C) - BLOCK


def test_a_batch_in_the_order_of_its_tree_is_read_less(in_process):
    batch = [(A, B), (C, B), (B, A), (B, C)]

    def total(generator, salt):
        answers = generator.generate([request(*texts, salt=salt) for texts in batch])
        return sum(answer.usage["cached_tokens"] for answer in answers)

    assert total(Ordered(in_process), "tree") > total(in_process, "no tree")


def test_an_answer_ends_before_a_stop_string(in_process, llama, server):
    full = in_process.generate([request(A)])[0]
    stop = next(word for word in SAID if word in full.text)
    over_http = load(name="openai", model="tiny", base_url=server, stop=[stop])
    here = load(name="vllm", model=str(llama), stop=[stop])
    try:
        for generator in (here, over_http):
            got = generator.generate([request(A)])[0]
            assert got.text == full.text[: full.text.index(stop)].rstrip()
            assert got.usage["completion_tokens"] < full.usage["completion_tokens"]
            *pieces, last = asyncio.run(collect(generator, request(A)))
            assert "".join(pieces) == last.text == got.text
    finally:
        here.close()


async def collect(generator, one):
    return [part async for part in generator.stream(one)]


def test_structured_answers_are_whole_or_an_error(tmp_path):
    # Letters that end a string, so that a model which writes at random comes to an end.
    closing = [f'{a}{b}"' for a, b in product("abcdefghijkl", repeat=2)]
    model = make_tiny_llama(tmp_path, more=closing)
    generator = load(
        name="vllm", model=str(model), structured=True, max_tokens=200, temperature=2.0
    )
    try:
        requests = [request(A, B, question=f"Who built number {n}?") for n in range(8)]
        answers = generator.generate(requests)
        good = [one for one, answer in zip(requests, answers, strict=True) if not answer.error]
        assert good
        for answer in answers:
            if answer.error:
                assert ': {"abstained"' in answer.error
                assert answer.usage["completion_tokens"] == 200
        for one in good:
            *pieces, last = asyncio.run(collect(generator, one))
            assert "".join(pieces) == last.text
            assert last.abstained == (not last.text)
    finally:
        generator.close()


def test_the_server_writes_by_the_schema_too(server):
    generator = load(name="openai", model="tiny", base_url=server, structured=True, max_tokens=24)
    (answer,) = generator.generate([request(A)])
    assert answer.error is None or re.search(r': \{\s*"abstained"', answer.error)
