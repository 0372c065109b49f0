"""Any causal language model that the transformers library can load."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

from ragib.config import GeneratorConfig
from ragib.errors import GenerationError
from ragib.extras import offline, require
from ragib.generators.base import Generation, Request
from ragib.generators.chat import local_model, tokens, too_long
from ragib.generators.citations import MarkerParser, parse
from ragib.generators.prompt import chat
from ragib.generators.stopping import ends_at, until
from ragib.generators.threads import pieces_from
from ragib.padding import pad_id, padded
from ragib.text import batched, one_line


class TransformersGenerator:
    """Answers with `AutoModelForCausalLM`, loaded at the first request; one batch at a time.

    Decoding is greedy at temperature 0, else sampled from `seed`. `concurrency` is the size of a
    batch. Weights are read from safetensors only, and code that comes with a model is never run.

    Raises
    ------
    ConfigError
        No model is named.
    MissingExtraError
        torch or transformers is not installed.
    """

    name = "transformers"

    def __init__(self, config: GeneratorConfig) -> None:
        self._name = local_model(config.model, self.name)
        self._torch = require("torch", "the transformers generator")
        self._transformers = require("transformers", "the transformers generator")
        self._config = config
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer in batches of prompts of like length; those that do not fit get an `error`."""
        if not requests:
            return []
        tokenizer, model = self._load()
        prompts = [self._prompt(tokenizer, model, request) for request in requests]
        lengths = {n: len(p) for n, p in enumerate(prompts) if not isinstance(p, str)}
        answers: dict[int, Generation] = {}
        for batch in batched(sorted(lengths, key=lengths.__getitem__), self._config.concurrency):
            found = self._answer(tokenizer, model, [prompts[n] for n in batch])
            answers.update(zip(batch, found, strict=True))
        return [
            Generation("", error=prompt) if isinstance(prompt, str) else answers[n]
            for n, prompt in enumerate(prompts)
        ]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request on a thread."""
        return (await asyncio.to_thread(self.generate, [request]))[0]

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer as the model writes it; leaving early stops the model."""
        parser = MarkerParser()
        usage: dict[str, int] = {}
        async for piece in pieces_from(partial(self._pieces, request, usage)):
            if shown := parser.feed(piece):
                yield shown
        last, generation = parser.finish(usage)
        if last:
            yield last
        yield generation

    def close(self) -> None:
        """Let go of the model; the next request loads it again."""
        with self._lock:
            self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                gpu = self._torch.cuda.is_available()
                dtype = self._torch.bfloat16 if gpu else self._torch.float32
                source = {
                    "pretrained_model_name_or_path": self._name,
                    "local_files_only": offline(),
                }
                auto = self._transformers
                try:
                    tokenizer = auto.AutoTokenizer.from_pretrained(**source)
                    model = auto.AutoModelForCausalLM.from_pretrained(
                        **source, use_safetensors=True, dtype=dtype
                    )
                except (OSError, ValueError) as error:
                    raise GenerationError(
                        f"generator.model: {self._name!r} cannot be loaded: "
                        f"{one_line(str(error))[:500]}"
                    ) from error
                self._loaded = tokenizer, model.to("cuda" if gpu else "cpu").eval()
            return self._loaded

    def _prompt(self, tokenizer: Any, model: Any, request: Request) -> list[int] | str:  # noqa: ANN401
        prompt = tokens(tokenizer, chat(request))
        window = getattr(model.config, "max_position_embeddings", None)
        return too_long(len(prompt), self._config.max_tokens, window) or prompt

    def _answer(self, tokenizer: Any, model: Any, prompts: Sequence[Any]) -> list[Generation]:  # noqa: ANN401
        try:
            texts = self._decode(tokenizer, model, prompts, stop=self._config.stop)
        except GenerationError as error:
            return [Generation("", error=str(error))] * len(prompts)
        return [parse(text[: ends_at(text, self._config.stop)], usage) for text, usage in texts]

    def _decode(
        self,
        tokenizer: Any,  # noqa: ANN401
        model: Any,  # noqa: ANN401
        prompts: Sequence[Any],
        **more: Any,  # noqa: ANN401
    ) -> list[tuple[str, dict[str, int]]]:
        """Return what the model writes and its token counts, one pair a prompt."""
        try:
            output = self._run(tokenizer, model, prompts, **more)
        except RuntimeError as error:  # torch's own, out of memory above all
            raise GenerationError(f"the model failed: {one_line(str(error))[:500]}") from error
        width = max(map(len, prompts))
        stop = _stop_ids(model)
        found = []
        for prompt, row in zip(prompts, output[:, width:].tolist(), strict=True):
            ends = [place for place, token in enumerate(row) if token in stop]
            answer = row[: ends[0]] if ends else row
            while answer and answer[-1] == pad_id(tokenizer):  # a row that others outlived
                answer.pop()
            usage = {
                "prompt_tokens": len(prompt),
                "completion_tokens": len(answer) + bool(ends),
            }
            found.append((tokenizer.decode(answer, skip_special_tokens=True), usage))
        return found

    def _run(
        self,
        tokenizer: Any,  # noqa: ANN401
        model: Any,  # noqa: ANN401
        prompts: Sequence[Any],
        *,
        stop: Sequence[str] = (),
        **more: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        torch, config = self._torch, self._config
        if stop:
            more |= {"stop_strings": list(stop), "tokenizer": tokenizer}
        ids, mask = padded(prompts, pad_id(tokenizer), "left")
        sampling = {"temperature": config.temperature} if config.temperature > 0 else {}
        with self._lock, torch.inference_mode(), torch.random.fork_rng(enabled=bool(sampling)):
            if sampling:
                torch.manual_seed(config.seed)
            return model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                do_sample=bool(sampling),
                pad_token_id=pad_id(tokenizer),
                **({"max_new_tokens": config.max_tokens} | sampling | more),
            )

    def _pieces(self, request: Request, usage: dict[str, int]) -> Iterator[str]:
        tokenizer, model = self._load()
        prompt = self._prompt(tokenizer, model, request)
        if isinstance(prompt, str):
            raise GenerationError(prompt)
        streamer = self._transformers.TextIteratorStreamer(
            tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        left = threading.Event()
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(
                    self._run(
                        tokenizer,
                        model,
                        [prompt],
                        streamer=streamer,
                        stopping_criteria=[lambda *_, **__: left.is_set()],
                        stop=self._config.stop,
                    )
                )
            except Exception as error:  # handed to the reading thread below
                outcome.append(error)
                streamer.on_finalized_text("", stream_end=True)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield from until(streamer, self._config.stop)
        finally:
            left.set()
            thread.join()
        if isinstance(outcome[0], Exception):
            raise GenerationError(
                f"the model failed: {one_line(str(outcome[0]))[:500]}"
            ) from outcome[0]
        usage["prompt_tokens"] = len(prompt)
        usage["completion_tokens"] = outcome[0].shape[1] - len(prompt)


def _stop_ids(model: Any) -> set[int]:  # noqa: ANN401
    stop = model.generation_config.eos_token_id
    return set(stop) if isinstance(stop, list) else {stop} - {None}
