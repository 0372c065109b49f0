"""From the results of stages to answers, as `ragib.pipeline` puts them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragib.config import Config, RetrieverConfig
from ragib.eval import stages as s
from ragib.eval.builds import Built
from ragib.eval.evalset import EvalQuery
from ragib.eval.measures import document_scores
from ragib.eval.stages import Failure, Stages
from ragib.generators.base import Generation, Request, request_for
from ragib.generators.citations import verify
from ragib.indexes.index import Index
from ragib.pipeline import RAG
from ragib.rerankers.base import Ranked
from ragib.types import Answer, Compressed, Hit, Passage, Question

_NOTHING = Generation("", abstained=True, usage={"prompt_tokens": 0, "completion_tokens": 0})


@dataclass(frozen=True, slots=True)
class Line:
    """A pipeline that is ready to run.

    `rag` remembers what it can and is for getting through many questions; `plain` is the pipeline
    as a user has it, for measuring time. `ranks`, `keeps` and `answers` identify reranker,
    compressor and generator with their settings. `passages` holds those that were looked up in the
    index.
    """

    name: str
    config: Config
    rag: RAG
    plain: RAG
    built: Built
    ranks: str
    keeps: str
    answers: str
    passages: dict[str, Passage]

    @property
    def at(self) -> tuple[str, Index]:
        """The index that is searched, with what identifies it."""
        return self.built.id, self.built.index


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of a question, best first; with a reranker, its flags and what it used."""

    hits: tuple[Hit, ...]
    flags: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a pipeline made of one question: an answer, or the reason why there is none."""

    answer: Answer | None
    hits: tuple[Hit, ...]
    cached: tuple[str, ...]
    error: str | None = None


def find(
    stages: Stages,
    line: Line,
    queries: Sequence[EvalQuery],
    config: RetrieverConfig | None = None,
) -> list[s.Made]:
    """Retrieve and rerank: the value of each is a `Found`, or a failure.

    `config` takes the place of the pipeline's own.
    """
    config = config or line.config.retriever
    reranker = line.rag.reranker
    wanted = config
    if reranker is not None:
        wanted = config.model_copy(update={"k": max(config.k, reranker.depth)})
    texts = [query.text for query in queries]
    found = s.retrieve(stages, line.at, wanted, texts)
    made = [s.Made(_found(line, one.value), one.cached) for one in found]
    if reranker is None:
        return made
    good = [i for i, one in enumerate(made) if not isinstance(one.value, Failure)]
    hits = [made[i].value.hits for i in good]
    ranked = s.rerank(stages, reranker, line.ranks, [texts[i] for i in good], hits)
    for i, one in zip(good, ranked, strict=True):
        made[i] = s.Made(_reranked(one.value, config.k), one.cached and made[i].cached)
    return made


def documents(stages: Stages, line: Line, queries: Sequence[EvalQuery]) -> list[s.Made]:
    """Return the documents of each question with scores, deep enough for a TREC run."""
    config = line.config.retriever
    if line.rag.reranker is None:
        return s.search(stages, line.at, config, [query.text for query in queries])
    made = find(stages, line, queries, s.deeper(config))
    return [
        one
        if isinstance(one.value, Failure)
        else s.Made(document_scores(one.value.hits), one.cached)
        for one in made
    ]


def keep(
    stages: Stages, line: Line, queries: Sequence[EvalQuery], found: Sequence[s.Made]
) -> list[s.Made]:
    """Compress what was found: the value of each is a `Compressed`, or a failure."""
    good = [i for i, one in enumerate(found) if not isinstance(one.value, Failure)]
    questions = [
        Question(str(i), queries[i].text, tuple(hit.passage for hit in found[i].value.hits))
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


def _found(line: Line, value: object) -> Found | Failure:
    if isinstance(value, Failure):
        return value
    assert isinstance(value, list)
    for name, _ in value:
        if name not in line.passages:
            line.passages[name] = line.built.index.passage(name)
    return Found(tuple(Hit(line.passages[name], score) for name, score in value))


def _reranked(value: Ranked | Failure, k: int) -> Found | Failure:
    if isinstance(value, Failure):
        return Failure(f"rerank: {value.reason}")
    return Found(value.hits[:k], value.flags, value.usage)


def _request(question: str, found: Found | Failure, kept: Compressed | Failure) -> Request | None:
    if isinstance(found, Failure) or isinstance(kept, Failure):
        return None
    return request_for(question, found.hits, kept)


def _reply(question: str, found: s.Made, kept: s.Made, made: s.Made | None) -> Reply:
    made = made or s.Made(_NOTHING, cached=False)
    names = ("retrieve", "compress", "generate")
    cached = tuple(n for n, one in zip(names, (found, kept, made), strict=True) if one.cached)
    hits = () if isinstance(found.value, Failure) else found.value.hits
    for name, one in zip(names, (found, kept, made), strict=True):
        if isinstance(one.value, Failure):
            return Reply(None, hits, cached, f"{name}: {one.value.reason}")
    return Reply(_answer(question, found.value, kept.value, made.value), hits, cached)


def _answer(question: str, found: Found, kept: Compressed, generation: Generation) -> Answer:
    passages = {hit.passage.id: hit.passage for hit in found.hits}
    citations, flags = verify(generation, kept.evidence, passages)
    return Answer(
        question=question,
        text=generation.text,
        citations=citations,
        evidence=kept.evidence,
        dropped=kept.dropped,
        hits=found.hits,
        abstained=generation.abstained,
        confidence=generation.confidence,
        timings={},
        usage={
            "words_in": kept.words_in,
            "words_kept": kept.words_kept,
            **found.usage,
            **generation.usage,
        },
        flags=(*found.flags, *flags),
    )
