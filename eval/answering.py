"""From the results of stages to answers, as `ragib.pipeline` puts them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragib.config import Config
from ragib.eval import stages as s
from ragib.eval.builds import Built
from ragib.eval.evalset import EvalQuery
from ragib.eval.stages import Failure, Stages
from ragib.generators.base import Generation, Request
from ragib.generators.citations import verify
from ragib.indexes.index import Index
from ragib.pipeline import RAG
from ragib.types import Answer, Compressed, Hit, Passage, Question

_NOTHING = Generation("", abstained=True, usage={"prompt_tokens": 0, "completion_tokens": 0})


@dataclass(frozen=True, slots=True)
class Line:
    """A pipeline that is ready to run.

    `rag` remembers what it can and is for getting through many questions; `plain` is the pipeline
    as a user has it, for measuring time. `keeps` and `answers` identify compressor and generator
    with their settings. `passages` holds those that were looked up in the index.
    """

    name: str
    config: Config
    rag: RAG
    plain: RAG
    built: Built
    keeps: str
    answers: str
    passages: dict[str, Passage]

    @property
    def at(self) -> tuple[str, Index]:
        """The index that is searched, with what identifies it."""
        return self.built.id, self.built.index


@dataclass(frozen=True, slots=True)
class Reply:
    """What a pipeline made of one question: an answer, or the reason why there is none."""

    answer: Answer | None
    hits: tuple[Hit, ...]
    cached: tuple[str, ...]
    error: str | None = None


def find(stages: Stages, line: Line, queries: Sequence[EvalQuery]) -> list[s.Made]:
    """Retrieve: the value of each is a tuple of hits, or a failure."""
    texts = [query.text for query in queries]
    made = s.retrieve(stages, line.at, line.config.retriever, texts)
    return [s.Made(_hits(line, one.value), one.cached) for one in made]


def keep(
    stages: Stages, line: Line, queries: Sequence[EvalQuery], found: Sequence[s.Made]
) -> list[s.Made]:
    """Compress what was found: the value of each is a `Compressed`, or a failure."""
    good = [i for i, one in enumerate(found) if not isinstance(one.value, Failure)]
    questions = [
        Question(str(i), queries[i].text, tuple(hit.passage for hit in found[i].value))
        for i in good
    ]
    made = list(found)
    kept = s.compress(stages, line.rag.compressor, line.keeps, questions)
    for i, one in zip(good, kept, strict=True):
        made[i] = one
    return made


def reply(stages: Stages, line: Line, queries: Sequence[EvalQuery]) -> list[Reply]:
    """Go the whole way with some questions."""
    return answer_from(stages, line, queries, find(stages, line, queries))


def answer_from(
    stages: Stages, line: Line, queries: Sequence[EvalQuery], found: Sequence[s.Made]
) -> list[Reply]:
    """Go the rest of the way from the hits of each question, as `find` gives them."""
    kept = keep(stages, line, queries, found)
    requests = {
        i: request
        for i, one in enumerate(kept)
        if (request := _request(queries[i].text, found[i].value, one.value)) is not None
    }
    made = dict(
        zip(
            requests,
            s.generate(stages, line.rag.generator, line.answers, list(requests.values())),
            strict=True,
        )
    )
    return [_reply(query.text, found[i], kept[i], made.get(i)) for i, query in enumerate(queries)]


def bare(stages: Stages, line: Line, queries: Sequence[EvalQuery]) -> dict[str, str]:
    """Ask the generator without any passage: query id -> answer, failures left out."""
    requests = [Request(query.text, ()) for query in queries]
    made = s.generate(stages, line.rag.generator, line.answers, requests)
    return {
        query.id: "" if one.value.abstained else one.value.text
        for query, one in zip(queries, made, strict=True)
        if not isinstance(one.value, Failure)
    }


def _hits(line: Line, value: object) -> tuple[Hit, ...] | Failure:
    if isinstance(value, Failure):
        return value
    assert isinstance(value, list)
    for name, _ in value:
        if name not in line.passages:
            line.passages[name] = line.built.index.passage(name)
    return tuple(Hit(line.passages[name], score) for name, score in value)


def _request(
    question: str, hits: tuple[Hit, ...] | Failure, kept: Compressed | Failure
) -> Request | None:
    if isinstance(hits, Failure) or isinstance(kept, Failure):
        return None
    if kept.abstained or not kept.evidence:
        return None
    titles = {hit.passage.id: hit.passage.title for hit in hits if hit.passage.title}
    return Request(question, kept.evidence, titles)


def _reply(question: str, found: s.Made, kept: s.Made, made: s.Made | None) -> Reply:
    made = made or s.Made(_NOTHING, cached=False)
    names = ("retrieve", "compress", "generate")
    cached = tuple(n for n, one in zip(names, (found, kept, made), strict=True) if one.cached)
    hits = () if isinstance(found.value, Failure) else found.value
    for name, one in zip(names, (found, kept, made), strict=True):
        if isinstance(one.value, Failure):
            return Reply(None, hits, cached, f"{name}: {one.value.reason}")
    return Reply(_answer(question, hits, kept.value, made.value), hits, cached)


def _answer(
    question: str, hits: tuple[Hit, ...], kept: Compressed, generation: Generation
) -> Answer:
    passages = {hit.passage.id: hit.passage for hit in hits}
    citations, flags = verify(generation, kept.evidence, passages)
    return Answer(
        question=question,
        text=generation.text,
        citations=citations,
        evidence=kept.evidence,
        dropped=kept.dropped,
        hits=hits,
        abstained=generation.abstained,
        confidence=generation.confidence,
        timings={},
        usage={"words_in": kept.words_in, "words_kept": kept.words_kept, **generation.usage},
        flags=flags,
    )
