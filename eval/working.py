"""The work of a run, in the order that shares most.

Hits and evidence first, batch by batch for all pipelines; then generator by generator, so that
one engine is loaded at a time, its answers, its curves and its times. All of it lands in the
cache: who measures reads it back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ragib.compressor.base import Compressor
from ragib.compressor.registry import load_compressor
from ragib.config import Config, RerankerConfig
from ragib.eval.answering import Line, bare, documents, find, keep, reply
from ragib.eval.behaviour import noise, noise_size, retention, scores, whole
from ragib.eval.builds import Built, Progress
from ragib.eval.cache import Cache
from ragib.eval.evalset import EvalSet
from ragib.eval.grid import Grid
from ragib.eval.judging import Judge, Judged, judge_all, load_judge
from ragib.eval.lab import Lab, Timed
from ragib.eval.remembering import Memory, remember, remembering_reader
from ragib.eval.stages import (
    Stages,
    compressor_settings,
    generator_settings,
    reranker_settings,
)
from ragib.generators.base import Generator
from ragib.generators.registry import load_generator
from ragib.pipeline import RAG
from ragib.rerankers.base import Reranker
from ragib.rerankers.registry import load_reranker
from ragib.retriever import Retriever
from ragib.text import batched
from ragib.types import Passage

BATCH = 64
"""Questions that go through a stage together: what an interruption can cost."""

Curves = dict[str, list[tuple[float, float]]]


@dataclass(slots=True)
class Worked:
    """What comes of the work besides what is in the cache.

    `bare` are answers without passages, by the settings of the generator and query id; `curves`
    and `timed` are by pipeline, `judged` by pipeline and query id; `notes` say how many pipelines
    were timed now, and before.
    """

    bare: dict[str, dict[str, str]] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    timed: dict[str, Timed] = field(default_factory=dict)
    judged: dict[str, dict[str, Judged]] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


def check_parts(grid: Grid) -> None:
    """Load every compressor and reranker and name every generator, before indexes take hours.

    Those that may use the encoder of an index have to wait for it.

    Raises
    ------
    ConfigError, InputError, MissingExtraError
        One of them cannot be had.
    """
    compressors = {p.config.compressor.model_dump_json(): p.config for p in grid.pipelines}
    for config in compressors.values():
        if config.compressor.name != "embedding-sentence" and config.compressor.budget is None:
            load_compressor(config.compressor)
    generators = {p.config.generator.model_dump_json(): p.config for p in grid.pipelines}
    for config in generators.values():
        load_generator(config.generator)
    rerankers = {reranker_settings(p.config): p.config for p in grid.pipelines}
    for config in rerankers.values():
        load_reranker(config.reranker, load_generator(config.generator))
    if grid.judge is not None:
        load_judge(grid.judge)


def lines_of(grid: Grid, indexes: Mapping[str, Built]) -> list[Line]:
    """Put the pipelines together; those with the same compressor or generator share it.

    Parameters
    ----------
    grid
        The pipelines.
    indexes
        The index of each, by its name.

    Raises
    ------
    ConfigError, InputError, MissingExtraError
        A pipeline cannot be put together.
    """
    compressors: dict[str, tuple[Compressor, Compressor]] = {}
    generators: dict[str, tuple[Generator, Generator]] = {}
    rerankers: dict[str, tuple[Reranker | None, Reranker | None]] = {}
    passages: dict[str, dict[str, Passage]] = {}
    memory: Memory = {}
    lines = []
    for pipeline in grid.pipelines:
        config, built = pipeline.config, indexes[pipeline.name]
        keeps = compressor_settings(config.compressor, built.index)
        answers = generator_settings(config)
        ranks = reranker_settings(config)
        if keeps not in compressors or answers not in generators:
            parts = config.model_copy(update={"reranker": RerankerConfig()})
            rag = RAG.from_config(parts, index=built.plain)
            compressors.setdefault(keeps, (rag.compressor, remember(rag.compressor, memory)))
            again = remembering_reader(rag.generator, memory)
            generators.setdefault(answers, (rag.generator, again))
        if ranks not in rerankers:
            rerankers[ranks] = _rerankers(config, generators[answers], compressors[keeps])
        lines.append(
            Line(
                name=pipeline.name,
                config=config,
                rag=RAG(
                    Retriever(built.index, config.retriever),
                    compressors[keeps][1],
                    generators[answers][1],
                    reranker=rerankers[ranks][1],
                ),
                plain=RAG(
                    Retriever(built.plain, config.retriever),
                    compressors[keeps][0],
                    generators[answers][0],
                    reranker=rerankers[ranks][0],
                ),
                built=built,
                ranks=ranks,
                keeps=keeps,
                answers=answers,
                passages=passages.setdefault(built.id, {}),
            )
        )
    return lines


def _rerankers(
    config: Config,
    generators: tuple[Generator, Generator],
    compressors: tuple[Compressor, Compressor],
) -> tuple[Reranker | None, Reranker | None]:
    """Load the reranker of a pipeline, and once more where its model can remember.

    One that has only so much time must not: what is remembered takes none.
    """
    plain = load_reranker(config.reranker, generators[0], compressors[0])
    if config.reranker.name != "relevance" or config.reranker.budget_ms is not None:
        return plain, plain
    return plain, load_reranker(config.reranker, generators[1], compressors[1])


def work(
    grid: Grid,
    data: EvalSet,
    stages: Stages,
    cache: Cache,
    lines: Sequence[Line],
    progress: Progress,
) -> Worked:
    """Do all there is to do for some pipelines that the cache does not hold."""
    worked = Worked()
    searching = {_searches(line): line for line in lines}
    keeping = {(_searches(line), line.keeps): line for line in lines}
    generators = list(dict.fromkeys(line.answers for line in lines))
    passes = len(searching) + len(keeping) + len(generators) + len(lines)
    count = _counter("grid", len(data.queries) * passes, progress)
    for batch in batched(data.queries, BATCH):
        for line in searching.values():
            if data.qrels:
                documents(stages, line, batch)
            count(len(batch))
        for line in keeping.values():
            keep(stages, line, batch, find(stages, line, batch))
            count(len(batch))
    lab = Lab(grid, data, cache, len(lines), progress)
    for answers in generators:
        mine = [line for line in lines if line.answers == answers]
        worked.bare[answers] = {}
        for batch in batched(data.queries, BATCH):
            worked.bare[answers] |= bare(stages, mine[0], batch)
            count(len(batch))
            for line in mine:
                reply(stages, line, batch)
                count(len(batch))
        _noises(grid, data, stages, mine, worked, progress)
        for line in mine:
            worked.timed[line.name] = lab.measure(line)
        for line in mine:
            line.plain.close()
    if grid.judge is not None:
        _judge(load_judge(grid.judge), data, stages, lines, worked, progress)
    _retentions(grid, data, stages, lines, worked, progress)
    worked.notes = lab.notes
    return worked


def _noises(
    grid: Grid,
    data: EvalSet,
    stages: Stages,
    lines: Sequence[Line],
    worked: Worked,
    progress: Progress,
) -> None:
    """Draw the noise curve of each compressor before one generator."""
    known: dict[str, list[tuple[float, float]]] = {}
    for line in lines if grid.noise else ():
        if line.keeps not in known:
            shown = _shown(f"noise: {line.name}", noise_size(data.queries), progress)
            known[line.keeps] = noise(stages, line, data.queries, shown)
        if known[line.keeps]:
            worked.curves.setdefault(line.name, {})["noise"] = known[line.keeps]


def _judge(
    judge: Judge,
    data: EvalSet,
    stages: Stages,
    lines: Sequence[Line],
    worked: Worked,
    progress: Progress,
) -> None:
    """Have every answer of every pipeline judged."""
    count = _counter(f"judge: {judge.name}", len(data.queries) * len(lines), progress)
    for line in lines:
        verdicts = worked.judged.setdefault(line.name, {})
        for batch in batched(data.queries, BATCH):
            found = judge_all(stages, judge, batch, reply(stages, line, batch))
            verdicts |= {query.id: one for query, one in zip(batch, found, strict=True)}
            count(len(batch))
    judge.completer.close()


def _retentions(
    grid: Grid,
    data: EvalSet,
    stages: Stages,
    lines: Sequence[Line],
    worked: Worked,
    progress: Progress,
) -> None:
    """Draw the retention curve of each compressor that scores, whatever its limits."""
    known: dict[str, list[tuple[float, float]]] = {}
    for line in lines if grid.retention else ():
        if not scores(line.config.compressor):
            continue
        settings = compressor_settings(whole(line.config.compressor), line.built.index)
        if settings not in known:
            shown = _shown(f"retention: {line.config.compressor.name}", None, progress)
            known[settings] = retention(stages, line, settings, data.queries, shown)
        if known[settings]:
            worked.curves.setdefault(line.name, {})["retention"] = known[settings]


def _searches(line: Line) -> tuple[str, str, str]:
    return line.built.id, line.config.retriever.model_dump_json(), line.ranks


def _counter(stage: str, total: int, progress: Progress) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(stage, done, total)

    count(0)
    return count


def _shown(stage: str, total: int | None, progress: Progress) -> Callable[[int], None]:
    return lambda done: progress(stage, done, total)
