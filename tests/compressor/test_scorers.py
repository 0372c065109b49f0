"""Scorers against log-probabilities taken one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_llama import make_tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from ragib.compressor import scorers
from ragib.compressor.ib_score import LogProbability
from ragib.compressor.scorer_server import AT_ONCE, server_scorer
from ragib.compressor.scorers import Metered, transformers_scorer, vllm_scorer
from ragib.errors import ConfigError, GenerationError, OfflineError
from tests.generators.fake_openai import serving

TEXTS = [
    ["The king", " built", " it."],
    ["a", ""],
    ["", " b c"],
    ["The king"],
    ["x" * 40, " y", " z"],
]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama"), 512)


@pytest.fixture(scope="module")
def tokenizer(llama):
    return AutoTokenizer.from_pretrained(llama)


@pytest.fixture(scope="module")
def model(llama):
    return AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32).eval()


def nats_of(model, ids: list[int]) -> list[float]:
    """Read one text alone: the log-probability of every token but the first."""
    with torch.inference_mode():
        rows = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), dim=-1)
    return [float(rows[place, token]) for place, token in enumerate(ids[1:])]


def slowly(model, tokenizer, text: list[str]) -> list[tuple[float, int]]:
    pieces = [tokenizer(piece, add_special_tokens=n == 0).input_ids for n, piece in enumerate(text)]
    nats = nats_of(model, [token for piece in pieces for token in piece])
    found, read = [], 0
    for piece in pieces:
        places = range(max(1, read), read + len(piece))
        found.append((math.fsum(nats[place - 1] for place in places), len(places)))
        read += len(piece)
    return found


def check(scorer, model, tokenizer) -> None:
    for text, found in zip(TEXTS, scorer(TEXTS), strict=True):
        for piece, (nats, size) in zip(found, slowly(model, tokenizer, text), strict=True):
            assert piece.tokens == size
            assert piece.nats == pytest.approx(nats, abs=1e-4)
    assert scorer([]) == []


def test_padded_batches_give_what_single_texts_do(model, tokenizer, monkeypatch):
    check(transformers_scorer(model, tokenizer), model, tokenizer)
    monkeypatch.setattr(scorers, "BATCH_TOKENS", 1)
    check(transformers_scorer(model, tokenizer), model, tokenizer)


def test_an_engine_is_asked_once(model, tokenizer, monkeypatch):
    asked = []

    class Engine:
        def get_tokenizer(self):
            return tokenizer

        def generate(self, prompts, params, use_tqdm):
            asked.append(len(prompts))
            outputs = []
            for ids in (prompt["prompt_token_ids"] for prompt in prompts):
                rows = [
                    {t: SimpleNamespace(logprob=n)}
                    for t, n in zip(ids[1:], nats_of(model, ids), strict=True)
                ]
                outputs.append(SimpleNamespace(prompt_logprobs=[None, *rows]))
            return outputs

    fake = SimpleNamespace(SamplingParams=lambda **options: options)
    monkeypatch.setattr(scorers, "require", lambda module, purpose: fake)
    check(vllm_scorer(Engine()), model, tokenizer)
    assert asked == [len(TEXTS)]


def test_what_it_costs_is_counted(model, tokenizer):
    meter = Metered(transformers_scorer(model, tokenizer))
    first, _ = meter(TEXTS), meter(TEXTS[:1])
    assert meter.tokens == sum(p.tokens for text in [*first, first[0]] for p in text)
    assert meter.seconds > 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_pieces_share_out_every_token_but_the_first(sizes: list[int]) -> None:
    total = sum(sizes)
    nats = [-1.0 * i for i in range(1, total)]
    found = scorers.Pieces(list(range(total)), tuple(sizes)).scored(nats)
    assert math.fsum(p.nats for p in found) == pytest.approx(math.fsum(nats))
    assert sum(p.tokens for p in found) == max(0, total - 1)
    assert all(size - 1 <= p.tokens <= size for size, p in zip(sizes, found, strict=True))


def answer(model, prompts: list[list[int]]) -> dict:
    """Answer as vLLM 0.32 does with echo, logprobs 0, max_tokens 0 and return_token_ids."""
    choices = []
    for index, ids in enumerate(prompts):
        nats = nats_of(model, ids)
        tokens = [f"token_id:{token}" for token in ids]
        logprobs = {
            "text_offset": [0] * len(ids),
            "token_logprobs": [None, *nats],
            "tokens": tokens,
            "top_logprobs": [
                None,
                *({token: n} for token, n in zip(tokens[1:], nats, strict=True)),
            ],
        }
        choices.append(
            {"index": index, "text": "", "logprobs": logprobs, "finish_reason": "length",
             "stop_reason": None, "token_ids": [1], "prompt_token_ids": ids}
        )  # fmt: skip
    return {"id": "cmpl-1", "object": "text_completion", "model": "tiny", "choices": choices}


def test_a_server_is_sent_token_ids(model, tokenizer, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with serving() as fake:
        fake.then(lambda body: json.dumps(answer(model, body["prompt"])).encode())
        check(server_scorer(fake.url, "tiny", tokenizer), model, tokenizer)
        [(path, headers, body)] = fake.requests
    assert path == "/v1/completions"
    assert {k.lower(): v for k, v in headers.items()}["authorization"] == "Bearer sesame"
    assert body["prompt"][0] == tokenizer("The king built it.").input_ids
    assert (body["model"], body["echo"], body["logprobs"], body["max_tokens"]) == (
        "tiny",
        True,
        0,
        0,
    )


def test_a_server_is_sent_so_many_at_once(model, tokenizer):
    with serving() as fake:
        fake.then(lambda body: json.dumps(answer(model, body["prompt"])).encode())
        found = server_scorer(fake.url, "tiny", tokenizer)([["a", " b"]] * (AT_ONCE + 1))
        assert [len(body["prompt"]) for _, _, body in fake.requests] == [AT_ONCE, 1]
    assert len(found) == AT_ONCE + 1
    assert found[0][1] == LogProbability(pytest.approx(found[-1][1].nats), 2)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"index": 0, "logprobs": null}]}',
        b'{"choices": [{"index": 0, "logprobs": {"token_logprobs": [null, -1.0]}}]}',
        b'{"choices": [{"index": 0, "logprobs": {"token_logprobs": [null, -1.0, null]}}]}',
        b'{"choices": [{"index": 0, "logprobs": {"token_logprobs": [null, -1.0, NaN]}}]}',
        b'{"choices": [7]}',
    ],
)
def test_an_answer_without_the_numbers_is_an_error(body, tokenizer):
    with serving() as fake:
        fake.then(body)
        with pytest.raises(GenerationError, match="no log-probabilities of the prompts"):
            server_scorer(fake.url, "tiny", tokenizer)([["a", " b"]])


def test_a_server_that_refuses_is_quoted_without_the_key(tokenizer, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    with serving() as fake:
        fake.then(b"the key sesame\nis wrong", status=401)
        with pytest.raises(GenerationError, match=r"answered 401: the key \*\*\* is wrong"):
            server_scorer(fake.url, "tiny", tokenizer)([["a", " b"]])


def test_a_server_that_is_not_there(tokenizer):
    with pytest.raises(GenerationError, match="cannot be reached"):
        server_scorer("http://127.0.0.1:9/v1", "tiny", tokenizer)([["a", " b"]])


def test_no_server_elsewhere_without_a_network(tokenizer, monkeypatch):
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"example\.org"):
        server_scorer("https://example.org/v1", "tiny", tokenizer)
    with pytest.raises(ConfigError, match="not an address"):
        server_scorer("127.0.0.1:8000", "tiny", tokenizer)
