"""Plain completions by the real engine, in this process and over HTTP."""

from __future__ import annotations

import pytest

from ragib.config import GeneratorConfig
from ragib.generators.completing import load_completer

pytest.importorskip("vllm", reason="the vLLM engine is not installed; run: make test-vllm")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # the engine's own, of which there are many
]

CHATS = [
    [{"role": "system", "content": "Say one word."}, {"role": "user", "content": text}]
    for text in ("Why?", "When was the old bridge built?", "Who?")
]


@pytest.fixture(scope="module")
def in_process(llama):
    engine_args = {"enforce_eager": True, "max_model_len": 4096, "dtype": "float32"}
    completer = load_completer(
        GeneratorConfig(name="vllm", model=str(llama), engine_args=engine_args)
    )
    yield completer
    completer.close()


@pytest.fixture(scope="module")
def over_http(server):
    return load_completer(GeneratorConfig(name="openai", model="tiny", base_url=server))


def shown(completion):
    """Leave out what is no whole character yet where the text is cut off; engines differ there."""
    return completion.text.rstrip("\ufffd")


def test_both_ways_and_transformers_write_the_same(in_process, over_http, llama):
    expected = load_completer(GeneratorConfig(name="transformers", model=str(llama))).complete(
        CHATS, max_tokens=16
    )
    assert len({one.text for one in expected}) > 1
    for completer in (in_process, over_http):
        found = completer.complete(CHATS, max_tokens=16)
        assert [shown(one) for one in found] == [shown(one) for one in expected]
        assert [one.error for one in found] == [None] * 3
        for one, other in zip(found, expected, strict=True):
            assert one.usage["prompt_tokens"] == other.usage["prompt_tokens"]
            assert one.usage["completion_tokens"] == other.usage["completion_tokens"]


def test_a_chat_that_does_not_fit_loses_no_other(in_process):
    long = [{"role": "user", "content": "tower " * 3000}]
    first, second = in_process.complete([long, CHATS[0]], max_tokens=4)
    assert "the model reads 4096" in first.error
    assert second.error is None


def test_the_engine_drops_what_is_late_and_goes_on(in_process):
    long = [{"role": "user", "content": f"Tell all about the tower, part {n}."} for n in range(4)]
    late = in_process.complete([[one] for one in long], max_tokens=3500, seconds=0.001)
    assert [one.error for one in late] == ["not complete within 0.001 s"] * 4
    assert not in_process.generator._waiting
    assert in_process.complete(CHATS[:1], max_tokens=4)[0].error is None
