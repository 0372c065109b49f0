"""vLLM in this process: one engine, whole batches at once.

Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention",
SOSP 2023.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, GenerationError
from ragib.extras import require
from ragib.generators.base import Generation, Request
from ragib.generators.chat import local_model, tokens, too_long
from ragib.generators.citations import MarkerParser, parse
from ragib.generators.prompt import chat
from ragib.generators.threads import pieces_from
from ragib.text import one_line


class VLLMGenerator:
    """Answers with `vllm.LLM`, started at the first request and shared by all.

    `engine_args` of the configuration go to `vllm.LLM` as they are. Requests that come at the
    same time, from whichever threads, are batched by the engine as they go.

    Raises
    ------
    ConfigError
        No model is named, or `engine_args` would run code that came with one.
    MissingExtraError
        vLLM is not installed.
    """

    name = "vllm"

    def __init__(self, config: GeneratorConfig) -> None:
        self._model = local_model(config.model, self.name)
        if config.engine_args.get("trust_remote_code"):
            raise ConfigError(
                "generator.engine_args.trust_remote_code: code that comes with a model is never run"
            )
        self._vllm = require("vllm", "the vllm generator")
        self._config = config
        self._lock = threading.Lock()
        self._engine: Any = None
        self._ids = count()
        self._waiting: dict[str, tuple[int, deque[tuple[int, Any]]]] = {}

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch in one run of the engine; prompts that do not fit get an `error`."""
        if not requests:
            return []
        llm = self._llm()
        prompts = {number: self._prompt(llm, request) for number, request in enumerate(requests)}
        answers = {n: Generation("", error=p) for n, p in prompts.items() if isinstance(p, str)}
        fitting = {n: p for n, p in prompts.items() if not isinstance(p, str)}
        reason = ""
        try:
            for number, output in self._outputs(llm, fitting):
                answers[number] = _read(output)
        except GenerationError as error:
            reason = str(error)
        return [answers.get(number, Generation("", error=reason)) for number in prompts]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request on a thread."""
        return (await asyncio.to_thread(self.generate, [request]))[0]

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer step by step of the engine; leaving early aborts the request."""
        parser = MarkerParser()
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        async for output in pieces_from(partial(self._steps, request)):
            usage["prompt_tokens"] = len(output.prompt_token_ids or ())
            usage["completion_tokens"] += len(output.outputs[0].token_ids)
            if shown := parser.feed(output.outputs[0].text):
                yield shown
        last, generation = parser.finish(usage)
        if last:
            yield last
        yield generation

    def close(self) -> None:
        """Stop the engine and free its memory; the next request starts a new one."""
        with self._lock:
            if self._engine is not None:
                self._engine.llm_engine.engine_core.shutdown()
                self._engine = None

    def _steps(self, request: Request) -> Iterator[Any]:
        llm = self._llm()
        prompt = self._prompt(llm, request)
        if isinstance(prompt, str):
            raise GenerationError(prompt)
        for _, output in self._outputs(llm, {0: prompt}, delta=True):
            yield output

    def _outputs(
        self,
        llm: Any,  # noqa: ANN401
        prompts: Mapping[int, list[int]],
        *,
        delta: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield the outputs for numbered prompts as they come.

        Whoever waits for an output advances the engine by a step, for all callers at once: so
        they share its batches, and one that lingers between two outputs holds up no other.
        """
        engine = llm.llm_engine
        mine: deque[tuple[int, Any]] = deque()
        left: dict[int, str] = {}
        try:
            for number, prompt in prompts.items():
                left[number] = name = f"ragib-{next(self._ids)}"
                with self._lock:
                    self._waiting[name] = (number, mine)
                    inputs = self._vllm.TokensPrompt(prompt_token_ids=prompt)
                    engine.add_request(name, inputs, self._params(delta=delta))
            while left:
                if not mine:
                    self._advance(llm, mine)
                while mine:
                    number, output = mine.popleft()
                    if output.finished:
                        del self._waiting[left.pop(number)]
                    yield number, output
        except GenerationError:
            raise
        except Exception as error:  # of whatever kind: the engine is a program of its own
            raise GenerationError(f"the engine failed: {_one_line(error)}") from error
        finally:
            with self._lock, suppress(Exception):  # an engine that died aborts nothing
                for name in left.values():
                    self._waiting.pop(name, None)
                if left and self._engine is llm:
                    engine.abort_request(list(left.values()))

    def _advance(self, llm: Any, mine: deque[tuple[int, Any]]) -> None:  # noqa: ANN401
        # While another caller steps, outputs may arrive without the lock ever coming free.
        if not self._lock.acquire(timeout=0.01):
            return
        try:
            if self._engine is not llm:
                raise GenerationError("the engine was closed before the answer was complete")
            if not mine:
                for output in llm.llm_engine.step():
                    number, owner = self._waiting.get(output.request_id, (0, None))
                    if owner is not None:
                        owner.append((number, output))
        finally:
            self._lock.release()

    def _llm(self) -> Any:  # noqa: ANN401
        with self._lock:
            if self._engine is None:
                arguments = {"load_format": "safetensors", "seed": self._config.seed}
                arguments |= dict(self._config.engine_args)
                _hide_llvmlite()
                try:
                    self._engine = self._vllm.LLM(model=self._model, **arguments)
                except Exception as error:
                    raise GenerationError(
                        f"vLLM cannot start with the model {self._model!r}: {_one_line(error)}"
                    ) from error
            return self._engine

    def _prompt(self, llm: Any, request: Request) -> list[int] | str:  # noqa: ANN401
        prompt = tokens(llm.get_tokenizer(), chat(request))
        window = llm.llm_engine.model_config.max_model_len
        return too_long(len(prompt), self._config.max_tokens, window) or prompt

    def _params(self, *, delta: bool = False) -> Any:  # noqa: ANN401
        kinds = self._vllm.sampling_params.RequestOutputKind
        return self._vllm.SamplingParams(
            max_tokens=self._config.max_tokens,
            temperature=self._config.temperature,
            seed=self._config.seed if self._config.temperature > 0 else None,
            output_kind=kinds.DELTA if delta else kinds.FINAL_ONLY,
        )


def _hide_llvmlite() -> None:
    # On CPUs, vLLM 0.32 starts by reading `__dict__` of every value of every loaded module. The
    # library handle of llvmlite, which numba loads, makes a function of any name it is asked
    # for, and vLLM stumbles over that: so it is told the answer.
    handle = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    functions = getattr(handle, "_fntab", None)
    if isinstance(functions, dict):
        functions["__dict__"] = {}


def _one_line(error: Exception) -> str:
    return one_line(str(error))[:500] or type(error).__name__


def _read(output: Any) -> Generation:  # noqa: ANN401
    answer = output.outputs[0]
    usage = {
        "prompt_tokens": len(output.prompt_token_ids or ()),
        "completion_tokens": len(answer.token_ids),
    }
    return parse(answer.text, usage)
