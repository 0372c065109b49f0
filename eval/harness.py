"""Run a grid: every pipeline over every question, each piece of work once, and nothing lost.

The work goes in an order that shares most: indexes, then hits and evidence question by question
for all pipelines, then answers generator by generator, so that one engine is open at a time. All
of it lands in the cache; measuring then goes through the pipelines and reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from ragib.eval.answering import Line, Reply, documents, reply
from ragib.eval.builds import Progress, build_all, corpus_digest, needed_kinds, shared_indexes
from ragib.eval.cache import Cache
from ragib.eval.compare import against_first, headline
from ragib.eval.cost import costs
from ragib.eval.evalset import EvalQuery, EvalSet
from ragib.eval.grid import Grid
from ragib.eval.identity import claimed, described
from ragib.eval.ladder import climb
from ragib.eval.measures import Run, document_scores
from ragib.eval.measuring import measured
from ragib.eval.results import PipelineResult, QueryResult, RunResults
from ragib.eval.rundir import file_names, save_passages, save_queries, save_results, save_run
from ragib.eval.stages import Failure, Stages
from ragib.eval.working import BATCH, Worked, check_parts, lines_of, work
from ragib.text import batched
from ragib.types import Passage


def run_grid(
    grid: Grid,
    data: EvalSet,
    out: Path,
    *,
    cache: Path | None = None,
    command: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> RunResults:
    """Evaluate every pipeline of a grid on a data set, and write the run directory.

    A run that was stopped goes on where it was with the same call. A question that a stage fails
    on counts as wrong and is listed; the rest stands.

    Parameters
    ----------
    grid
        The pipelines, and what else to measure.
    data
        Questions and documents.
    out
        The run directory: new, empty, or of the same run.
    cache
        Where indexes and results of stages are kept; in the run directory without one.
    command
        Goes into the manifest.
    progress
        Called with (stage, done, total).

    Raises
    ------
    InputError
        The directory holds another run or cannot be written, or the data set cannot be used.
    ConfigError
        A pipeline cannot be put together.
    RagibError
        The disk is full, an extra is missing, or an index cannot be built.
    """
    configs = {pipeline.name: pipeline.config for pipeline in grid.pipelines}
    served = shared_indexes(configs)
    check_parts(grid)
    digest, documents = corpus_digest(data.documents())
    with ExitStack() as stack:
        stack.enter_context(claimed(out, grid, data, digest))
        place = cache if cache is not None else out / "cache"
        kept = stack.enter_context(Cache(place))
        stages = Stages(kept)
        wanted = {index.model_dump_json(): index for index in served.values()}
        found = build_all(list(wanted.values()), data.documents, digest, place, progress)
        built = dict(zip(wanted, found, strict=True))
        for one in found:
            stack.callback(one.close)
        lines = lines_of(
            grid, {name: built[index.model_dump_json()] for name, index in served.items()}
        )
        worked = work(grid, data, stages, kept, lines, progress)
        pipelines, rows = _measured(grid, data, stages, lines, worked, out, progress)
        ladder = climb(grid.ladder, grid.base, data, stages, place, progress) if grid.ladder else []
        results = RunResults(
            manifest=described(grid, data, (digest, documents), command, worked.notes),
            pipelines=pipelines,
            comparisons=against_first(rows),
            ladder=ladder,
        )
        save_results(out, results)
    return results


def _measured(
    grid: Grid,
    data: EvalSet,
    stages: Stages,
    lines: Sequence[Line],
    worked: Worked,
    out: Path,
    progress: Progress,
) -> tuple[list[PipelineResult], dict[str, list[QueryResult]]]:
    stems = file_names([line.name for line in lines])
    passages: dict[str, Passage] = {}
    pipelines, rows = [], {}
    found_in = {passage.doc_id for line in lines for passage in line.passages.values()}
    texts = {one.id: one.text for one in data.documents() if one.id in found_in}
    for number, (pipeline, line) in enumerate(zip(grid.pipelines, lines, strict=True)):
        progress("measure", number, len(lines))
        replies = [
            one for batch in batched(data.queries, BATCH) for one in reply(stages, line, batch)
        ]
        run = _run(stages, line, data, replies)
        timed = worked.timed[line.name]
        verdicts = worked.judged.get(line.name, {})
        judged = {query: one.values for query, one in verdicts.items()}
        bare = worked.bare[line.answers]
        found = measured(data, replies, texts, run, bare, timed.timings, judged)
        errors = [f"{row.id}: {row.error}" for row in found.rows if row.error]
        errors += [f"{query}: {error}" for query, one in verdicts.items() for error in one.errors]
        rows[line.name] = [headline(row) for row in found.rows]
        save_queries(out, stems[line.name], found.rows)
        save_run(out, stems[line.name], run, stems[line.name])
        passages |= {hit.passage.id: hit.passage for one in replies for hit in one.hits}
        curves = dict(worked.curves.get(line.name, {}))
        if found.risk_coverage:
            curves["risk-coverage"] = found.risk_coverage
        using = line.config.retriever.using
        pipelines.append(
            PipelineResult(
                name=line.name,
                settings=pipeline.settings,
                measures=found.figures,
                latency=timed.latency,
                cost={**costs(line.built, using, needed_kinds(line.config)), **timed.cost},
                load=timed.load,
                curves=curves,
                errors=errors,
            )
        )
    save_passages(out, passages.values())
    progress("measure", len(lines), len(lines))
    return pipelines, rows


def _run(stages: Stages, line: Line, data: EvalSet, replies: Sequence[Reply]) -> Run:
    """Return the documents that were found; a question that failed is not in it."""
    good = [
        (query, one)
        for query, one in zip(data.queries, replies, strict=True)
        if one.answer is not None
    ]
    if not data.qrels:
        return {query.id: document_scores(one.hits) for query, one in good}
    run: dict[str, Mapping[str, float]] = {}
    for batch in batched([query for query, _ in good], BATCH):
        run |= _searched(stages, line, batch)
    return run


def _searched(
    stages: Stages, line: Line, queries: Sequence[EvalQuery]
) -> dict[str, Mapping[str, float]]:
    made = documents(stages, line, queries)
    return {
        query.id: one.value
        for query, one in zip(queries, made, strict=True)
        if not isinstance(one.value, Failure)
    }
