"""The stages of a pipeline, question by question, each computed once whoever asks for it.

What a stage makes of a question is looked up under the hash of all that decides it: the index and
the settings for the hits, the hits and the compressor for the evidence, the evidence and the
generator for the answer. So pipelines that share a stage share its work, in this run and the next.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ragib
from ragib.compressor.base import Compressor
from ragib.compressor.registry import COMPRESSORS, WEIGHTS, settings_of
from ragib.config import CompressorConfig, Config, RetrieverConfig
from ragib.errors import ConfigError, IndexDirError, MissingExtraError, OfflineError
from ragib.eval.cache import Cache, key_of
from ragib.eval.measures import document_scores
from ragib.generators.base import Generation, Generator, Quote, Request
from ragib.indexes.index import Index
from ragib.rerankers.base import Ranked, Reranker
from ragib.rerankers.budgeted import below
from ragib.types import Compressed, Evidence, Hit, Question

DEPTH = 200
"""Passages found for a TREC run: more than 100, as a long document has several."""

_FATAL = (MemoryError, ConfigError, IndexDirError, MissingExtraError, OfflineError)
_KEPT = ("judged", "unread", "spent", "calls", "tokens", "milliseconds")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a stage gives in place of a value for the one question it failed on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Made:
    """What a stage made of one question; `cached` says that an earlier run did."""

    value: Any
    cached: bool


class Stages:
    """Runs stages through a cache; what failed is not tried again, and not kept for the next run.

    Parameters
    ----------
    cache
        Where results are kept.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._fresh: set[str] = set()
        self._failed: dict[str, Failure] = {}

    def __call__(
        self, stage: str, keys: Sequence[str], work: Callable[[Sequence[int]], Sequence[Any]]
    ) -> list[Made]:
        """Return what a stage makes of each question.

        Parameters
        ----------
        stage, keys
            Name of the stage, and what identifies its work on each question.
        work
            Called with the places of questions that nobody has worked on; gives JSON values or
            failures. If it raises, it is called again for fewer, until one question bears the
            failure.
        """
        found = self._cache.get(stage, list(dict.fromkeys(keys)))
        missing: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key not in found and key not in self._failed:
                missing.setdefault(key, place)
        made = dict(zip(missing, _attempt(list(missing.values()), work), strict=True))
        good = {key: value for key, value in made.items() if not isinstance(value, Failure)}
        self._cache.put(stage, good)
        self._fresh.update(good)
        self._failed.update((k, value) for k, value in made.items() if isinstance(value, Failure))
        everything = {**found, **self._failed, **good}
        return [
            Made(everything[key], key not in self._fresh and key not in self._failed)
            for key in keys
        ]


def retrieve(
    stages: Stages, at: tuple[str, Index], config: RetrieverConfig, questions: Sequence[str]
) -> list[Made]:
    """Return the hits of each question, as `[passage id, score]`; `at` is an index with its id."""
    name, index = at
    settings = config.model_dump(mode="json")
    keys = [key_of(ragib.__version__, name, settings, question) for question in questions]

    def work(places: Sequence[int]) -> list[Any]:
        found = index.retrieve([questions[i] for i in places], config)
        return [[[hit.passage.id, hit.score] for hit in hits] for hits in found]

    return stages("retrieve", keys, work)


def search(
    stages: Stages, at: tuple[str, Index], config: RetrieverConfig, questions: Sequence[str]
) -> list[Made]:
    """Return the documents of each question with scores, deep enough for a TREC run."""
    name, index = at
    deep = deeper(config)
    settings = deep.model_dump(mode="json")
    keys = [key_of(ragib.__version__, name, settings, question) for question in questions]

    def work(places: Sequence[int]) -> list[Any]:
        return [
            document_scores(hits) for hits in index.retrieve([questions[i] for i in places], deep)
        ]

    return stages("search", keys, work)


def deeper(config: RetrieverConfig) -> RetrieverConfig:
    """Return a configuration that finds `DEPTH` passages a question."""
    return config.model_copy(update={"k": DEPTH, "depth": max(config.depth, DEPTH)})


def rerank(
    stages: Stages,
    reranker: Reranker,
    settings: str,
    questions: Sequence[str],
    found: Sequence[Sequence[Hit]],
) -> list[Made]:
    """Return the hits of each question in their new order, as a `Ranked`.

    A question none of whose passages the model says anything of has failed, so that a server that
    was not there is asked again by the next run.
    """
    first = [hits[: reranker.depth] for hits in found]
    keys = [
        key_of(
            ragib.__version__,
            settings,
            question,
            [[hit.passage.id, hit.passage.title, hit.passage.text] for hit in hits],
        )
        for question, hits in zip(questions, first, strict=True)
    ]

    def work(places: Sequence[int]) -> list[Any]:
        return [_order(reranker.rerank(questions[i], first[i]), first[i]) for i in places]

    made = stages("rerank", keys, work)
    return [
        Made(_ranked(hits, one.value), one.cached) for hits, one in zip(found, made, strict=True)
    ]


def compress(
    stages: Stages, compressor: Compressor, settings: str, questions: Sequence[Question]
) -> list[Made]:
    """Return what is kept for each question, as a `Compressed` without what was dropped."""
    keys = [
        key_of(ragib.__version__, settings, q.text, [[p.id, p.title, p.text] for p in q.passages])
        for q in questions
    ]

    def work(places: Sequence[int]) -> list[Any]:
        results = compressor.compress([questions[i] for i in places])
        return [
            {
                "evidence": [[e.passage_id, e.start, e.end, e.score] for e in kept.evidence],
                "words_in": kept.words_in,
                "words_kept": kept.words_kept,
                "abstained": kept.abstained,
            }
            for _, kept in zip(places, results, strict=True)
        ]

    made = stages("compress", keys, work)
    return [
        Made(_compressed(question, one.value), one.cached)
        for question, one in zip(questions, made, strict=True)
    ]


def generate(
    stages: Stages, generator: Generator, settings: str, requests: Sequence[Request]
) -> list[Made]:
    """Return the generation of each request."""
    keys = [
        key_of(
            ragib.__version__,
            settings,
            request.question,
            [[r.passage_id, request.titles.get(r.passage_id, ""), r.text, r.score]
             for r in request.evidence],
        )
        for request in requests
    ]  # fmt: skip

    def work(places: Sequence[int]) -> list[Any]:
        results = generator.generate([requests[i] for i in places])
        return [_storable(one) for _, one in zip(places, results, strict=True)]

    made = stages("generate", keys, work)
    return [Made(_generation(one.value), one.cached) for one in made]


def reranker_settings(config: Config) -> str:
    """Return all that decides the order: limits, weights, and the language model that is asked."""
    values = config.reranker.model_dump(mode="json", exclude={"generator"})
    if config.reranker.name in ("none", "cross-encoder"):
        folder = Path(config.reranker.model or "")
        return key_of(values, _files(folder) if config.reranker.model else [])
    if config.reranker.name == "relevance":
        own = config.reranker.model
        folder = Path(own) if own is not None else _evidence_folder(config)
        return key_of(values, _files(folder), None if own else config.compressor.precision)
    asked = config.reranker.generator or config.generator
    return key_of(values, generator_settings(config.model_copy(update={"generator": asked})))


def compressor_settings(config: CompressorConfig, index: Index) -> str:
    """Return all that decides what is kept: limits, weights, and the encoder where it scores."""
    encoder = index.info()["encoder"] if "dense" in index.config.kinds else None
    scores = config.name == "embedding-sentence" or config.budget is not None
    return key_of(settings_of(config), encoder if scores else None)


def generator_settings(config: Config) -> str:
    """Return all that decides what is answered: weights of a local folder, and their precision."""
    how = {"api_key_env", "timeout", "retries", "concurrency", "priority", "cache_salt"}
    values = config.generator.model_dump(mode="json", exclude=how)
    folder = generator_folder(config)
    files = _files(folder) if folder is not None else []
    if config.generator.name == "reader" and config.generator.model is None:
        values["precision"] = config.compressor.precision
    return key_of(values, files)


def generator_folder(config: Config) -> Path | None:
    """Return the folder of the generator's weights, if it has one.

    The built-in reader reads with the model of the compressor where that is trained, as in
    `ragib.pipeline`.
    """
    if config.generator.model is not None:
        return Path(config.generator.model)
    if config.generator.name != "reader":
        return None
    return _evidence_folder(config)


def _evidence_folder(config: Config) -> Path:
    name = config.compressor.name
    own = name not in COMPRESSORS and Path(name).is_dir()
    return Path(name) if own else WEIGHTS


def _files(folder: Path) -> list[list[Any]]:
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def _attempt(places: list[int], work: Callable[[Sequence[int]], Sequence[Any]]) -> Iterator[Any]:
    if not places:
        return
    try:
        values = list(work(places))
        json.dumps([v for v in values if not isinstance(v, Failure)], allow_nan=False)
    except _FATAL:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        if len(places) == 1:
            yield Failure(f"{type(error).__name__}: {' '.join(str(error).split())}")
            return
        middle = len(places) // 2
        yield from _attempt(places[:middle], work)
        yield from _attempt(places[middle:], work)
        return
    yield from values


def _order(ranked: Ranked, hits: Sequence[Hit]) -> dict[str, Any] | Failure:
    if ranked.unread and not ranked.judged:
        return Failure(f"none of {ranked.unread} passages could be judged")
    places = {hit.passage.id: place for place, hit in enumerate(hits)}
    values = {key: getattr(ranked, key) for key in _KEPT}
    return {**values, "order": [[places[hit.passage.id], hit.score] for hit in ranked.hits]}


def _ranked(hits: Sequence[Hit], value: Any) -> Ranked | Failure:  # noqa: ANN401
    if isinstance(value, Failure):
        return value
    order = [replace(hits[place], score=score) for place, score in value["order"]]
    kept = {key: value[key] for key in _KEPT}
    return Ranked(hits=below(order, hits[len(order) :]), **kept)


def _compressed(question: Question, value: Any) -> Compressed | Failure:  # noqa: ANN401
    if isinstance(value, Failure):
        return value
    texts = {passage.id: passage.text for passage in question.passages}
    return Compressed(
        id=question.id,
        evidence=tuple(
            Evidence(name, start, end, texts[name][start:end], score)
            for name, start, end, score in value["evidence"]
        ),
        dropped=(),
        words_in=value["words_in"],
        words_kept=value["words_kept"],
        abstained=value["abstained"],
    )


def _storable(generation: Generation) -> dict[str, Any] | Failure:
    if generation.error is not None:
        return Failure(generation.error)
    sure = generation.confidence
    return {
        "text": generation.text,
        "quotes": [[quote.evidence, quote.text] for quote in generation.quotes],
        "abstained": generation.abstained,
        "usage": dict(generation.usage),
        "confidence": float(sure) if sure is not None and math.isfinite(sure) else None,
    }


def _generation(value: Any) -> Generation | Failure:  # noqa: ANN401
    if isinstance(value, Failure):
        return value
    quotes = tuple(Quote(number, text) for number, text in value["quotes"])
    return Generation(**{**value, "quotes": quotes})
