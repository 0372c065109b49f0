"""Plain completions: chats in, texts out, through the engines that also answer questions.

A generator answers one kind of request from one prompt. Whatever else a language model is asked
for (to order passages, to judge an answer, to take a question apart) goes through a `Completer`:

    completer = load_completer(config.generator)
    chat = [{"role": "system", "content": "…"}, {"role": "user", "content": "…"}]
    (completion,) = completer.complete([chat], max_tokens=16)
    if completion.error is None:
        print(completion.text, completion.usage)

Hand over all chats that are ready together: engines batch them, and a server gets
`generator.concurrency` at a time. `completer_of` takes a generator that is already loaded, so
that both share one engine. Retrieved text is data: put it into a chat only through
`ragib.generators.prompt.fenced`, and other text from outside through `defuse`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, GenerationError
from ragib.generators.base import Generator
from ragib.generators.chat import tokens, too_long
from ragib.generators.openai import OpenAIGenerator
from ragib.generators.ordering import Ordered
from ragib.generators.registry import load_generator
from ragib.generators.running import run
from ragib.generators.sse import read_json
from ragib.generators.transformers import TransformersGenerator
from ragib.generators.vllm import Tally, VLLMGenerator
from ragib.text import batched

if TYPE_CHECKING:
    import httpx

Message = Mapping[str, str]
"""One turn of a chat: `role` (`system`, `user` or `assistant`) and `content`."""

COMPLETING = ("vllm", "openai", "transformers")
"""Names of the generators that a language model stands behind."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote, as it wrote it.

    `usage` counts tokens (`prompt_tokens`, `completion_tokens`) and more where the engine tells.
    `error` says why there is no text: the prompt is too long, the engine or server failed, the
    time was over.
    """

    text: str
    usage: Mapping[str, int] = field(default_factory=dict)
    error: str | None = None


class Completer(Protocol):
    """A language model that completes chats; safe to call from several threads."""

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        seconds: float | None = None,
        salt: str | None = None,
    ) -> list[Completion]:
        """Complete a batch; one completion a chat, in their order.

        A chat that cannot be completed comes back with `error` set and loses no other.
        Temperature, seed, timeout, retries and concurrency are those of the configuration.

        Parameters
        ----------
        chats
            Messages; the last one is the user's.
        max_tokens
            Where a completion is cut off; `generator.max_tokens` is not looked at.
        seconds
            When to give up what is not complete: it is stopped within a step of the engine.
        salt
            Chats of unlike salts share nothing in an engine's prefix cache (see
            `ragib.generators.salt`); give it where the chats hold what not everybody may see.

        Raises
        ------
        GenerationError
            The model does not load.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds; the next call starts it again."""
        ...


def load_completer(config: GeneratorConfig) -> Completer:
    """Return a completer for the language model a configuration names; it loads at first use.

    Raises
    ------
    ConfigError
        The generator has no language model (`reader`, `sentence`), or the configuration lacks
        what it needs.
    OfflineError
        The model or the server needs the network, and that is switched off.
    MissingExtraError
        An optional package is not installed.
    """
    completer = completer_of(load_generator(config))
    if completer is None:
        raise ConfigError(
            f"generator.name: {config.name} is no language model; set it to "
            f"{', '.join(COMPLETING)}, and generator.model to a model"
        )
    return completer


def completer_of(generator: Generator) -> Completer | None:
    """Return a completer on the engine of a generator, or nothing if it has no language model."""
    match generator:
        case Ordered(inner=inner):
            return completer_of(inner)
        case OpenAIGenerator():
            return _OpenAI(generator)
        case VLLMGenerator():
            return _VLLM(generator)
        case TransformersGenerator():
            return _Transformers(generator)
    return None


@dataclass(frozen=True, slots=True)
class _OpenAI:
    generator: OpenAIGenerator

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        seconds: float | None = None,
        salt: str | None = None,
    ) -> list[Completion]:
        return run(self._all(chats, self.generator._common(max_tokens, salt), seconds))

    def close(self) -> None:
        pass  # a client lives as long as a call

    async def _all(
        self, chats: Sequence[Sequence[Message]], body: Mapping[str, Any], seconds: float | None
    ) -> list[Completion]:
        async with self.generator._client() as client:
            bodies = ({**body, "messages": [dict(message) for message in chat]} for chat in chats)
            return await asyncio.gather(*(self._one(client, one, seconds) for one in bodies))

    async def _one(
        self, client: httpx.AsyncClient, body: Mapping[str, Any], seconds: float | None
    ) -> Completion:
        generator = self.generator
        try:
            async with asyncio.timeout(seconds), generator._gate():
                response = await generator._send(client, body)
            text, usage = read_json(response.content)
        except TimeoutError:
            return Completion("", error=_late(seconds))
        except GenerationError as error:
            return Completion("", error=generator._clean(f"{generator._url}: {error}"))
        return Completion(text, usage)


@dataclass(frozen=True, slots=True)
class _VLLM:
    generator: VLLMGenerator

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        seconds: float | None = None,
        salt: str | None = None,
    ) -> list[Completion]:
        if not chats:
            return []
        llm, begin = self.generator._llm(), monotonic()
        tokenizer, window = llm.get_tokenizer(), llm.llm_engine.model_config.max_model_len
        prompts, found = _fitting([tokens(tokenizer, c) for c in chats], max_tokens, window)
        tallies = {number: Tally(salt) for number in prompts}
        params = self.generator._params(max_tokens)
        reason = ""
        try:
            outputs = self.generator._outputs(llm, prompts, params, tallies)
            with closing(outputs):  # type: ignore[type-var]
                for number, output in outputs:
                    if output.finished:
                        found[number] = Completion(tallies[number].text, tallies[number].usage())
                    if seconds is not None and monotonic() - begin > seconds:
                        reason = _late(seconds)
                        break
        except GenerationError as error:
            reason = str(error)
        return [found.get(number, Completion("", error=reason)) for number in range(len(chats))]

    def close(self) -> None:
        self.generator.close()


@dataclass(frozen=True, slots=True)
class _Transformers:
    generator: TransformersGenerator

    def complete(
        self,
        chats: Sequence[Sequence[Message]],
        *,
        max_tokens: int,
        seconds: float | None = None,
        salt: str | None = None,
    ) -> list[Completion]:
        if not chats:
            return []
        (tokenizer, model), begin = self.generator._load(), monotonic()
        window = getattr(model.config, "max_position_embeddings", None)
        prompts, found = _fitting([tokens(tokenizer, c) for c in chats], max_tokens, window)
        by_length = sorted(prompts, key=lambda number: len(prompts[number]))
        for batch in batched(by_length, self.generator._config.concurrency):
            more: dict[str, Any] = {"max_new_tokens": max_tokens}
            if seconds is not None:
                more["max_time"] = max(0.0, seconds - (monotonic() - begin))
            try:
                group = [prompts[number] for number in batch]
                texts = self.generator._decode(tokenizer, model, group, **more)
                if seconds is not None and monotonic() - begin > seconds:
                    raise GenerationError(_late(seconds))
            except GenerationError as error:
                found |= {number: Completion("", error=str(error)) for number in batch}
                continue
            found |= {n: Completion(*text) for n, text in zip(batch, texts, strict=True)}
        return [found[number] for number in range(len(chats))]

    def close(self) -> None:
        self.generator.close()


def _fitting(
    prompts: Sequence[list[int]], answer: int, window: int | None
) -> tuple[dict[int, list[int]], dict[int, Completion]]:
    """Part numbered prompts into those that fit a model, and an error for each of the others."""
    fitting, errors = {}, {}
    for number, prompt in enumerate(prompts):
        reason = too_long(len(prompt), answer, window)
        if reason is None:
            fitting[number] = prompt
        else:
            errors[number] = Completion("", error=reason)
    return fitting, errors


def _late(seconds: float | None) -> str:
    return f"not complete within {seconds:g} s"
