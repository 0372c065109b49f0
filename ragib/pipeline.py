"""The way of a question: retrieve, compress, generate, check the citations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from ragib.compressor.base import Compressor
from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig, Config, GeneratorConfig, load_config
from ragib.encoders import Encoder
from ragib.errors import GenerationError, InputError
from ragib.generators.base import Generation, Generator, Request
from ragib.generators.citations import verify
from ragib.generators.registry import load_generator
from ragib.generators.running import iterate
from ragib.generators.salt import salt_of
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.retriever import Retriever
from ragib.types import PUBLIC, Answer, Compressed, Hit, Question


@dataclass(frozen=True, slots=True)
class _Found:
    """A question on its way, before an answer is generated; `seconds` are by stage."""

    question: str
    hits: tuple[Hit, ...]
    compressed: Compressed
    seconds: Mapping[str, float]
    salt: str | None

    @property
    def request(self) -> Request | None:
        """What the generator is asked, or nothing if there is nothing to answer from."""
        if self.compressed.abstained or not self.compressed.evidence:
            return None
        titles = {hit.passage.id: hit.passage.title for hit in self.hits if hit.passage.title}
        return Request(self.question, self.compressed.evidence, titles, self.salt)


@dataclass(frozen=True)
class RAG:
    """A retriever, a compressor and a generator, one after the other.

    Every way of asking takes the same filters: `where` is a condition on metadata (see
    `ragib.indexes.filters`), `allow` names the access groups whose documents may be seen.
    Every answer carries its `timings` in seconds (`retrieve`, `compress`, `generate`, `total`)
    and its `usage` (`words_in`, `words_kept`, and `prompt_tokens`, `completion_tokens` where the
    engine counts them). If the compressor finds nothing that answers the question, the generator
    is not called and the answer has `abstained` set and an empty text.
    """

    retriever: Retriever
    compressor: Compressor
    generator: Generator

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
        return cls(
            Retriever(index, config.retriever), compressor, _generator(config.generator, compressor)
        )

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

    def close(self) -> None:
        """Give back what the generator holds, such as the memory of an engine."""
        close = getattr(self.generator, "close", None)
        if close is not None:
            close()

    def _find(
        self, questions: Sequence[str], where: Where | None, allow: Sequence[str]
    ) -> list[_Found]:
        if isinstance(questions, str):
            raise InputError("expected a list of questions, got one string; use ask")
        for number, question in enumerate(questions, start=1):
            if not question.strip():
                which = f"question {number} of {len(questions)}" if len(questions) > 1 else "it"
                raise InputError(f"a question needs at least one word; {which} is empty")
        begin = perf_counter()
        hits = self.retriever.retrieve(questions, where=where, allow=allow)
        middle = perf_counter()
        compressed = self.compressor.compress(
            [
                Question(str(number), text, tuple(hit.passage for hit in found))
                for number, (text, found) in enumerate(zip(questions, hits, strict=True))
            ]
        )
        share = 1 / max(1, len(questions))
        seconds = {
            "retrieve": (middle - begin) * share,
            "compress": (perf_counter() - middle) * share,
        }
        return [
            _Found(text, tuple(found), kept, seconds, salt_of(allow))
            for text, found, kept in zip(questions, hits, compressed, strict=True)
        ]


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
            **generated.usage,
        },
        flags=flags,
    )
