"""The way of a question: retrieve, compress, generate, check the citations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from ragib.compressor.base import Compressor
from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig, Config, GeneratorConfig, load_config
from ragib.encoders import Encoder
from ragib.errors import GenerationError, InputError
from ragib.generators.base import Generation, Generator, Request, request_for
from ragib.generators.citations import verify
from ragib.generators.registry import load_generator
from ragib.generators.running import iterate
from ragib.generators.salt import salt_of
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.rerankers.base import Ranked, Reranker
from ragib.rerankers.registry import load_reranker
from ragib.retriever import Retriever
from ragib.types import PUBLIC, Answer, Compressed, Hit, Question, Step

if TYPE_CHECKING:
    from ragib.multistep.gather import MultiStep


@dataclass(frozen=True, slots=True)
class _Found:
    """A question on its way, before an answer is generated; `seconds` are by stage."""

    question: str
    hits: tuple[Hit, ...]
    compressed: Compressed
    seconds: Mapping[str, float]
    salt: str | None
    steps: tuple[Step, ...] = ()
    flags: tuple[str, ...] = ()
    plan_tokens: int = 0
    rerank_usage: Mapping[str, int] = field(default_factory=dict)

    @property
    def request(self) -> Request | None:
        """What the generator is asked, or nothing if there is nothing to answer from."""
        return request_for(self.question, self.hits, self.compressed, self.salt)


@dataclass(frozen=True)
class RAG:
    """A retriever, a compressor and a generator, one after the other.

    Every way of asking takes the same filters: `where` is a condition on metadata (see
    `ragib.indexes.filters`), `allow` names the access groups whose documents may be seen.
    Every answer carries its `timings` in seconds (`retrieve`, `compress`, `generate`, `total`)
    and its `usage` (`words_in`, `words_kept`, and `prompt_tokens`, `completion_tokens` where the
    engine counts them). If the compressor finds nothing that answers the question, the generator
    is not called and the answer has `abstained` set and an empty text. With `steps`, evidence is
    gathered in several, question by question, under the same filters; the answer tells them. With
    a `reranker`, its `depth` best hits are put into another order before the first `k` go on; that
    is a stage `rerank` in the timings, and `rerank_calls` and `rerank_tokens` in the usage.
    """

    retriever: Retriever
    compressor: Compressor
    generator: Generator
    steps: MultiStep | None = None
    reranker: Reranker | None = None

    @classmethod
    def from_config(
        cls,
        config: str | Path | Config | None = None,
        *,
        index: Index,
        overrides: Sequence[str] = (),
    ) -> RAG:
        """Put a pipeline together.

        Parameters
        ----------
        config
            A YAML file, or a configuration already read; none means all defaults.
        index
            What to search.
        overrides
            Assignments such as `"retriever.k=10"` that go over the file.

        Raises
        ------
        ConfigError
            A key or value is wrong.
        InputError
            `overrides` came with a configuration that is already read.
        """
        if isinstance(config, Config):
            if overrides:
                raise InputError("overrides go over a file; change the Config itself instead")
        else:
            config = load_config(config, overrides)
        compressor = load_compressor(config.compressor, _shared_encoder(config.compressor, index))
        generator = _generator(config.generator, compressor)
        steps = None
        if config.steps.mode != "single":
            from ragib.multistep.loading import load_steps

            language = index.config.sparse.language
            steps = load_steps(config.steps, compressor, generator, language)
        reranker = load_reranker(config.reranker, generator, compressor)
        return cls(Retriever(index, config.retriever), compressor, generator, steps, reranker)

    def ask(
        self, question: str, *, where: Where | None = None, allow: Sequence[str] = (PUBLIC,)
    ) -> Answer:
        """Answer one question.

        Raises
        ------
        InputError
            The question is empty.
        GenerationError
            The generator could not answer.
        """
        found = self._find([question], where, allow)[0]
        begin = perf_counter()
        generation = self.generator.generate([found.request])[0] if found.request else None
        return _answer(found, _succeeded(generation), perf_counter() - begin)

    def ask_batch(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        allow: Sequence[str] = (PUBLIC,),
    ) -> list[Answer]:
        """Answer many questions at once; one answer a question, in their order.

        A question that the generator fails on gets an empty text and a flag
        `"generation-failed: …"` with the reason, and costs no other question its answer. Timings
        are those of the batch divided by the number of questions; `generate` by the number of
        questions that reached the generator.

        Raises
        ------
        InputError
            A question is empty; the message says which.
        """
        found = self._find(questions, where, allow)
        begin = perf_counter()
        requests = [one.request for one in found]
        asked = [request for request in requests if request is not None]
        generations = iter(self.generator.generate(asked) if asked else [])
        seconds = (perf_counter() - begin) / max(1, len(asked))
        return [
            _answer(one, next(generations), seconds) if request else _answer(one, None, 0.0)
            for one, request in zip(found, requests, strict=True)
        ]

    async def aask(
        self, question: str, *, where: Where | None = None, allow: Sequence[str] = (PUBLIC,)
    ) -> Answer:
        """Answer one question without blocking the event loop; raises as `ask` does."""
        found = (await asyncio.to_thread(self._find, [question], where, allow))[0]
        begin = perf_counter()
        generation = await self.generator.agenerate(found.request) if found.request else None
        return _answer(found, _succeeded(generation), perf_counter() - begin)

    def stream(
        self, question: str, *, where: Where | None = None, allow: Sequence[str] = (PUBLIC,)
    ) -> Iterator[str | Answer]:
        """Answer one question piece by piece: yields strings, and at the end the `Answer`.

        The pieces joined are the answer's text. Stopping early stops the generator.

        Raises
        ------
        InputError
            The question is empty.
        GenerationError
            The generator could not answer, or the answer broke off.
        """
        return iterate(self.astream(question, where=where, allow=allow))

    async def astream(
        self, question: str, *, where: Where | None = None, allow: Sequence[str] = (PUBLIC,)
    ) -> AsyncIterator[str | Answer]:
        """Do what `stream` does, for `async for`."""
        found = (await asyncio.to_thread(self._find, [question], where, allow))[0]
        begin = perf_counter()
        generation = None
        if found.request:
            async for part in self.generator.stream(found.request):
                if isinstance(part, Generation):
                    generation = part
                else:
                    yield part
        yield _answer(found, generation, perf_counter() - begin)

    def search(
        self,
        questions: Sequence[str],
        *,
        where: Where | None = None,
        allow: Sequence[str] = (PUBLIC,),
        k: int | None = None,
    ) -> list[list[Hit]]:
        """Find passages only: the best `k` of each question, reranked if there is a reranker.

        `k` is `retriever.k` if it is not given. Raises as `Retriever.retrieve` and
        `Reranker.rerank` do.
        """
        hits, _, _ = self._search(questions, where, allow, k)
        return [list(found) for found in hits]

    def close(self) -> None:
        """Give back what generator and reranker hold, such as the memory of an engine."""
        for part in (self.generator, self.reranker):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def _search(
        self, questions: Sequence[str], where: Where | None, allow: Sequence[str], k: int | None
    ) -> tuple[list[Sequence[Hit]], list[Ranked | None], dict[str, float]]:
        """Return the hits of each question, what the reranker made of them, and seconds in all."""
        retriever, reranker = self.retriever, self.reranker
        if reranker is not None or k is not None:
            k = k or retriever.config.k
            deep = k if reranker is None else max(k, reranker.depth)
            config = retriever.config.model_copy(update={"k": deep})
            retriever = replace(retriever, config=config)
        begin = perf_counter()
        hits = retriever.retrieve(questions, where=where, allow=allow)
        seconds = {"retrieve": perf_counter() - begin}
        if reranker is None:
            return list(hits), [None] * len(hits), seconds
        begin = perf_counter()
        salt = salt_of(allow)
        ranked = [
            reranker.rerank(question, found, salt=salt)
            for question, found in zip(questions, hits, strict=True)
        ]
        seconds["rerank"] = perf_counter() - begin
        return [one.hits[:k] for one in ranked], list(ranked), seconds

    def _find(
        self, questions: Sequence[str], where: Where | None, allow: Sequence[str]
    ) -> list[_Found]:
        if isinstance(questions, str):
            raise InputError("expected a list of questions, got one string; use ask")
        for number, question in enumerate(questions, start=1):
            if not question.strip():
                which = f"question {number} of {len(questions)}" if len(questions) > 1 else "it"
                raise InputError(f"a question needs at least one word; {which} is empty")
        if self.steps is not None:
            return [self._in_steps(self.steps, one, where, allow) for one in questions]
        hits, ranked, seconds = self._search(questions, where, allow, None)
        begin = perf_counter()
        compressed = self.compressor.compress(
            [
                Question(str(number), text, tuple(hit.passage for hit in found))
                for number, (text, found) in enumerate(zip(questions, hits, strict=True))
            ]
        )
        seconds["compress"] = perf_counter() - begin
        each = {stage: total / max(1, len(questions)) for stage, total in seconds.items()}
        return [
            _Found(
                text,
                tuple(found),
                kept,
                each,
                salt_of(allow),
                flags=order.flags if order else (),
                rerank_usage=order.usage if order else {},
            )
            for text, found, kept, order in zip(questions, hits, compressed, ranked, strict=True)
        ]

    def _in_steps(
        self, steps: MultiStep, question: str, where: Where | None, allow: Sequence[str]
    ) -> _Found:
        orders: list[Ranked] = []

        def search(queries: Sequence[str], k: int) -> list[list[Hit]]:
            hits, ranked, _ = self._search(queries, where, allow, k)
            orders.extend(order for order in ranked if order is not None)
            return [list(found) for found in hits]

        k, salt = self.retriever.config.k, salt_of(allow)
        got = steps.gather(question, search, self.compressor, k, salt)
        return _Found(
            question,
            got.hits,
            got.kept,
            got.seconds,
            salt,
            got.steps,
            (*got.flags, *dict.fromkeys(flag for order in orders for flag in order.flags)),
            got.tokens,
            {key: sum(o.usage[key] for o in orders) for key in (orders[0].usage if orders else ())},
        )


def _shared_encoder(config: CompressorConfig, index: Index) -> Encoder | None:
    """Spare a second copy of the model where the compressor can use the index's own."""
    wanted = config.name == "embedding-sentence" or config.budget is not None
    return index.encoder if wanted and "dense" in index.config.kinds else None


def _generator(config: GeneratorConfig, compressor: Compressor) -> Generator:
    """Let the built-in reader read with the compressor's model, where that is trained."""
    if config.name == "reader" and config.model is None and compressor.name == "ib":
        from ragib.compressor.ib import IBCompressor
        from ragib.generators.reader import Reader

        assert isinstance(compressor, IBCompressor)
        return Reader(lambda: (compressor.model, compressor.calibration))
    return load_generator(config)


def _succeeded(generation: Generation | None) -> Generation | None:
    if generation is not None and generation.error is not None:
        raise GenerationError(generation.error)
    return generation


def _answer(found: _Found, generation: Generation | None, seconds: float) -> Answer:
    generated = generation or Generation(
        "", abstained=True, usage={"prompt_tokens": 0, "completion_tokens": 0}
    )
    passages = {hit.passage.id: hit.passage for hit in found.hits}
    citations, flags = verify(generated, found.compressed.evidence, passages)
    if generated.error is not None:
        flags = (*flags, f"generation-failed: {generated.error}")
    timings = {**found.seconds, "generate": seconds}
    return Answer(
        question=found.question,
        text=generated.text,
        citations=citations,
        evidence=found.compressed.evidence,
        dropped=found.compressed.dropped,
        hits=found.hits,
        abstained=generated.abstained,
        confidence=generated.confidence,
        timings={**timings, "total": sum(timings.values())},
        usage={
            "words_in": found.compressed.words_in,
            "words_kept": found.compressed.words_kept,
            **found.rerank_usage,
            **generated.usage,
            **({"plan_tokens": found.plan_tokens} if found.plan_tokens else {}),
        },
        flags=(*found.flags, *flags),
        steps=found.steps,
    )
