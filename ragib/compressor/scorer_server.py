"""A vLLM server as the judge of the IB score, over its OpenAI-compatible `/v1/completions`.

Prompts are sent as token ids, many in a request, with `echo`, `logprobs: 0` and `max_tokens: 0`:
nothing is generated, and `choices[i].logprobs.token_logprobs` holds the log-probabilities of the
prompt, `null` for its first token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ragib.addresses import api_key, host_of, is_loopback
from ragib.compressor.ib_score import LogProbability, Scorer
from ragib.compressor.scorers import tokenised
from ragib.errors import GenerationError
from ragib.extras import refuse_offline, require
from ragib.text import batched, one_line

AT_ONCE = 32
"""Texts in one request; the server batches them as it can."""

_PURPOSE = "the IB score by a server"


def server_scorer(
    base_url: str,
    model: str,
    tokenizer: Any,  # noqa: ANN401
    *,
    api_key_env: str = "OPENAI_API_KEY",
    timeout: float = 300.0,
) -> Scorer:
    """Score by a server such as `vllm serve MODEL`.

    Parameters
    ----------
    base_url
        As in `http://127.0.0.1:8000/v1`; the API key is only ever sent there.
    model
        The name that the server knows the model by.
    tokenizer
        The tokenizer of that model, of the transformers library.
    api_key_env
        The environment variable that holds the API key, if the server wants one.
    timeout
        Seconds to wait for one request of 32 texts.

    Raises
    ------
    ConfigError
        `base_url` is not an HTTP address.
    OfflineError
        The network is switched off and the server is not on this machine.
    MissingExtraError
        httpx is not installed.
    GenerationError
        When scoring: the server cannot be reached, refuses, or answers with something else.
    """
    httpx = require("httpx", _PURPOSE)
    host = host_of(base_url, "the address of the server", "http://127.0.0.1:8000/v1")
    local = is_loopback(host)
    if not local:
        refuse_offline(f"the server {host}")
    key = api_key(api_key_env)
    url = base_url.rstrip("/") + "/completions"
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(prompts: list[list[int]]) -> list[list[float]]:
        body = {"model": model, "prompt": prompts, "max_tokens": 0, "temperature": 0.0}
        body |= {"echo": True, "logprobs": 0, "return_token_ids": True}
        try:
            # A proxy that the environment names is not asked for this machine.
            answer = httpx.post(
                url, json=body, headers=headers, timeout=timeout, trust_env=not local
            )
        except httpx.HTTPError as error:
            reason = one_line(str(error)) or type(error).__name__
            raise GenerationError(f"{url}: the server cannot be reached: {reason}") from None
        if answer.status_code != 200:
            said = one_line(answer.text.replace(key, "***") if key else answer.text)[:300]
            raise GenerationError(f"{url}: the server answered {answer.status_code}: {said}")
        try:
            return _read(answer.json(), prompts)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise GenerationError(
                f"{url}: the server sent no log-probabilities of the prompts ({error}); it must "
                "accept echo with max_tokens 0, as vLLM does"
            ) from None

    def score(texts: Sequence[Sequence[str]]) -> list[list[LogProbability]]:
        pieces = list(tokenised(tokenizer, texts))
        found = [nats for group in batched(pieces, AT_ONCE) for nats in ask([p.ids for p in group])]
        return [one.scored(nats) for one, nats in zip(pieces, found, strict=True)]

    return score


def _read(answer: Any, prompts: Sequence[Sequence[int]]) -> list[list[float]]:  # noqa: ANN401
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    if len(choices) != len(prompts):
        raise ValueError(f"{len(choices)} choices for {len(prompts)} prompts")
    found = []
    for choice, prompt in zip(choices, prompts, strict=True):
        nats = [float(value) for value in choice["logprobs"]["token_logprobs"][1:]]
        if len(nats) != len(prompt) - 1 or not all(map(math.isfinite, nats)):
            raise ValueError(f"{len(nats)} numbers for {len(prompt)} tokens")
        found.append(nats)
    return found
