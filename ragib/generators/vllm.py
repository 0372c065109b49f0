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
from dataclasses import dataclass
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, GenerationError
from ragib.extras import require
from ragib.generators.base import Generation, Request
from ragib.generators.chat import local_model, tokens, too_long
from ragib.generators.pace import pace
from ragib.generators.prompt import chat
from ragib.generators.structured import SCHEMA, parser_for, read
from ragib.generators.threads import pieces_from
from ragib.text import one_line

_COMPACT = {"backend": "xgrammar", "disable_any_whitespace": True}
"""Between the parts of JSON a model may write white space without end; so it may not."""


class VLLMGenerator:
    """Answers with `vllm.LLM`, started at the first request and shared by all.

    `engine_args` of the configuration go to `vllm.LLM` as they are. Requests that come at the
    same time, from whichever threads, are batched by the engine as they go. With `structured` the
    engine can write nothing but JSON of the schema; an answer that is cut off is an error.

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
        self._waiting: dict[str, tuple[int, deque[tuple[int, Any, float]]]] = {}

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch in one run of the engine; prompts that do not fit get an `error`."""
        if not requests:
            return []
        llm = self._llm()
        prompts = {number: self._prompt(llm, request) for number, request in enumerate(requests)}
        answers = {n: Generation("", error=p) for n, p in prompts.items() if isinstance(p, str)}
        fitting = {n: p for n, p in prompts.items() if not isinstance(p, str)}
        tallies = {number: Tally(requests[number].salt) for number in fitting}
        reason = ""
        try:
            for number, output in self._outputs(llm, fitting, self._answering(), tallies):
                if output.finished:
                    tally = tallies[number]
                    answers[number] = read(tally.text, self._config.structured, tally.usage())
        except GenerationError as error:
            reason = str(error)
        return [answers.get(number, Generation("", error=reason)) for number in prompts]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request on a thread."""
        return (await asyncio.to_thread(self.generate, [request]))[0]

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer step by step of the engine; leaving early aborts the request."""
        parser = parser_for(self._config.structured)
        tally = Tally(request.salt)
        async for output in pieces_from(partial(self._steps, request, tally)):
            if shown := parser.feed(output.outputs[0].text):
                yield shown
        last, generation = parser.finish(tally.usage())
        if last:
            yield last
        yield generation

    def close(self) -> None:
        """Stop the engine and free its memory; the next request starts a new one."""
        with self._lock:
            if self._engine is not None:
                self._engine.llm_engine.engine_core.shutdown()
                self._engine = None

    def _steps(self, request: Request, tally: Tally) -> Iterator[Any]:
        llm = self._llm()
        prompt = self._prompt(llm, request)
        if isinstance(prompt, str):
            raise GenerationError(prompt)
        for _, output in self._outputs(llm, {0: prompt}, self._answering(), {0: tally}):
            yield output

    def _outputs(
        self,
        llm: Any,  # noqa: ANN401
        prompts: Mapping[int, list[int]],
        params: Any,  # noqa: ANN401
        tallies: Mapping[int, Tally],
    ) -> Iterator[tuple[int, Any]]:
        """Yield the outputs for numbered prompts as they come; the tally of each takes them down.

        Whoever waits for an output advances the engine by a step, for all callers at once: so
        they share its batches, and one that lingers between two outputs holds up no other.
        """
        engine = llm.llm_engine
        mine: deque[tuple[int, Any, float]] = deque()
        left: dict[int, str] = {}
        try:
            for number, prompt in prompts.items():
                left[number] = name = f"ragib-{next(self._ids)}"
                with self._lock:
                    self._waiting[name] = (number, mine)
                    inputs = self._vllm.TokensPrompt(prompt_token_ids=prompt)
                    if salt := tallies[number].begin():
                        inputs["cache_salt"] = salt
                    engine.add_request(name, inputs, params)
            while left:
                if not mine:
                    self._advance(llm, mine)
                while mine:
                    number, output, moment = mine.popleft()
                    tallies[number].take(output, moment)
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

    def _advance(self, llm: Any, mine: deque[tuple[int, Any, float]]) -> None:  # noqa: ANN401
        # While another caller steps, outputs may arrive without the lock ever coming free.
        if not self._lock.acquire(timeout=0.01):
            return
        try:
            if self._engine is not llm:
                raise GenerationError("the engine was closed before the answer was complete")
            if not mine:
                outputs, moment = llm.llm_engine.step(), perf_counter()
                for output in outputs:
                    number, owner = self._waiting.get(output.request_id, (0, None))
                    if owner is not None:
                        owner.append((number, output, moment))
        finally:
            self._lock.release()

    def _llm(self) -> Any:  # noqa: ANN401
        with self._lock:
            if self._engine is None:
                arguments: dict[str, Any] = {
                    "load_format": "safetensors",
                    "seed": self._config.seed,
                }
                if self._config.structured:
                    arguments["structured_outputs_config"] = _COMPACT
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
        messages = chat(request, structured=self._config.structured)
        prompt = tokens(llm.get_tokenizer(), messages)
        window = llm.llm_engine.model_config.max_model_len
        return too_long(len(prompt), self._config.max_tokens, window) or prompt

    def _params(self, max_tokens: int, **more: Any) -> Any:  # noqa: ANN401
        """Return what to sample by: step by step, so that the first token is timed."""
        return self._vllm.SamplingParams(
            max_tokens=max_tokens,
            temperature=self._config.temperature,
            seed=self._config.seed if self._config.temperature > 0 else None,
            output_kind=self._vllm.sampling_params.RequestOutputKind.DELTA,
            **more,
        )

    def _answering(self) -> Any:  # noqa: ANN401
        """Return the parameters of an answer."""
        shape = None
        if self._config.structured:
            shape = self._vllm.sampling_params.StructuredOutputsParams(json=SCHEMA)
        stop = list(self._config.stop) or None
        return self._params(self._config.max_tokens, structured_outputs=shape, stop=stop)


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


@dataclass(slots=True)
class Tally:
    """What comes of one request, and what it costs: tokens, and seconds of the clock."""

    salt: str | None
    text: str = ""
    begun: float = 0.0
    first: float | None = None
    last: float = 0.0
    prompt: int = 0
    cached: int = 0
    written: int = 0

    def begin(self) -> str | None:
        """Start the clock and return the salt."""
        self.begun = perf_counter()
        return self.salt

    def take(self, output: Any, moment: float) -> None:  # noqa: ANN401
        """Take down an output of the engine that came at a moment of the clock."""
        self.text += output.outputs[0].text
        self.prompt = len(output.prompt_token_ids or ())
        self.cached = output.num_cached_tokens or 0
        if new := len(output.outputs[0].token_ids):
            self.last = moment - self.begun
            self.first = self.last if self.first is None else self.first
            self.written += new

    def usage(self) -> dict[str, int]:
        """Return what a generation's usage says."""
        counts = {
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "completion_tokens": self.written,
        }
        return counts | pace(self.first, self.last, self.written)
