"""Two curves of a pipeline's parts: what noise does to answers, and what compression loses.

Both are drawn over the passages of the QA records themselves, so they say nothing of retrieval,
and pipelines with the same compressor (and, for noise, the same generator) share them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import ragib
from ragib.compressor.base import Compressor
from ragib.compressor.selection import ScoredSentence, Sentence, select
from ragib.config import CompressorConfig, Config
from ragib.corpus.records import clean
from ragib.eval.answering import Found, Line, Reply, answer_from
from ragib.eval.cache import key_of
from ragib.eval.evalset import EvalQuery
from ragib.eval.retention import judged, retained
from ragib.eval.robustness import is_right, noise_curve, noise_passages
from ragib.eval.stages import Failure, Made, Stages
from ragib.pipeline import RAG
from ragib.text import batched
from ragib.types import Compressed, Dropped, Evidence, Hit, Passage, Question

DISTRACTORS = (0, 2, 4)
SHARES = (0.05, 0.10, 0.15, 0.20, 0.30)
QUESTIONS = 300
"""Questions a curve is drawn over, at most: a fixed draw."""

BATCH = 32

Points = list[tuple[float, float]]
Progress = Callable[[int], None]


def noise(stages: Stages, line: Line, queries: Sequence[EvalQuery], progress: Progress) -> Points:
    """Return (distractors, share answered right), from the gold passages and so many others.

    Only questions with at least as many others as the last point has are taken.

    Parameters
    ----------
    stages
        Where results are kept.
    line
        Its compressor and generator are used.
    queries
        Those without a record of passages are passed over.
    progress
        Called with the number of questions done.
    """
    fit = [q for q in queries if noise_passages(q, max(DISTRACTORS)) is not None]
    fit = _drawn(fit)
    accuracy: dict[int, dict[str, float]] = {count: {} for count in DISTRACTORS}
    done = 0
    for count in DISTRACTORS:
        for batch in batched(fit, BATCH):
            found = [Made(_found(noise_passages(q, count) or ()), cached=False) for q in batch]
            replies = answer_from(stages, line, batch, found)
            for query, reply in zip(batch, replies, strict=True):
                accuracy[count][query.id] = _right(query, reply)
            done += len(batch)
            progress(done)
    return noise_curve(accuracy)


def noise_size(queries: Sequence[EvalQuery]) -> int:
    """Return how many questions `noise` asks in all."""
    fit = sum(noise_passages(q, max(DISTRACTORS)) is not None for q in queries)
    return min(fit, QUESTIONS) * len(DISTRACTORS)


def scores(config: CompressorConfig) -> bool:
    """Say whether a compressor scores sentences, so that it can keep any share of them."""
    return config.name not in ("none", "truncate")


def whole(config: CompressorConfig) -> CompressorConfig:
    """Return the configuration that keeps all, so that every sentence is scored."""
    limits = {"keep": 1.0, "budget": None, "risk": None, "threshold": None}
    return config.model_copy(update=limits)


def retention(
    stages: Stages,
    line: Line,
    settings: str,
    queries: Sequence[EvalQuery],
    progress: Progress,
) -> Points:
    """Return (share of the words kept, share of questions whose evidence is kept).

    Sentences are scored once and selected at every share.

    Parameters
    ----------
    stages
        Where results are kept.
    line
        Its compressor is used, without its limits.
    settings
        What identifies that compressor.
    queries
        Those whose record marks no evidence are passed over.
    progress
        Called with the number of questions done.
    """
    fit = _drawn([q for q in queries if q.record is not None and judged(q.record)])
    config = Config(index=line.config.index, compressor=whole(line.config.compressor))
    compressor: Compressor | None = None
    kept: list[list[bool]] = []
    for batch in batched(fit, BATCH):
        keys = [
            key_of(ragib.__version__, settings, SHARES, q.text, [p.text for p in _passages(q)],
                   [[p.id, p.answers, p.evidence] for p in q.record.passages] if q.record else [])
            for q in batch
        ]  # fmt: skip

        def work(places: Sequence[int], batch: list[EvalQuery] = batch) -> list[list[bool]]:
            nonlocal compressor
            if compressor is None:
                compressor = RAG.from_config(config, index=line.built.index).compressor
            chosen = [batch[i] for i in places]
            questions = [Question(str(i), q.text, _passages(q)) for i, q in enumerate(chosen)]
            results = compressor.compress(questions)
            return [
                _at_shares(query, question, result)
                for query, question, result in zip(chosen, questions, results, strict=True)
            ]

        made = stages("retention", keys, work)
        kept += [[False] * len(SHARES) if isinstance(m.value, Failure) else m.value for m in made]
        progress(len(kept))
    if not kept:
        return []
    return [(share, sum(row[i] for row in kept) / len(kept)) for i, share in enumerate(SHARES)]


def _at_shares(query: EvalQuery, question: Question, result: Compressed) -> list[bool]:
    assert query.record is not None
    place = {passage.id: number for number, passage in enumerate(question.passages)}
    spans: list[Evidence | Dropped] = [*result.evidence, *result.dropped]
    pieces = [ScoredSentence(Sentence(place[s.passage_id], s.start, s.end), s.score) for s in spans]
    return [retained(query.record, select(question, pieces, keep=share)) for share in SHARES]


def _passages(query: EvalQuery) -> tuple[Passage, ...]:
    assert query.record is not None
    return tuple(Passage(p.id, p.id, clean(p.text), clean(p.title)) for p in query.record.passages)


def _found(passages: Sequence[Passage]) -> Found:
    return Found(tuple(Hit(passage, 1.0) for passage in passages))


def _right(query: EvalQuery, reply: Reply) -> float:
    if reply.answer is None:
        return 0.0
    return float(is_right(query, "" if reply.answer.abstained else reply.answer.text))


def _drawn(queries: list[EvalQuery]) -> list[EvalQuery]:
    if len(queries) <= QUESTIONS:
        return queries
    return random.Random(0).sample(queries, QUESTIONS)  # noqa: S311
