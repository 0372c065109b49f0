"""What the report is made from: the figures of a run, and its rows as far as they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ragib.errors import InputError
from ragib.eval.results import QueryResult, RunResults
from ragib.eval.rundir import load_passages, load_queries, load_results
from ragib.types import Passage

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, how much of it is done, and how much there is."""

SHOWN_HITS = 10
"""Hits a row keeps, besides those that evidence was kept from."""

Rows = Mapping[str, QueryResult]
"""The rows of a pipeline by the id of the query."""


@dataclass(frozen=True, slots=True)
class RunData:
    """A run as it was read: `rows` has one mapping a pipeline, in the order of `results`.

    `problems` say what could not be read; the rest is there.
    """

    results: RunResults
    rows: Sequence[Rows]
    passages: Mapping[str, Passage]
    problems: Sequence[str] = ()


def read_run(folder: Path, progress: Progress | None = None) -> RunData:
    """Read a run directory; a file of rows or passages that cannot be read becomes a problem.

    Raises
    ------
    InputError
        The folder has no `results.json`, or it is damaged; the message names file and key.
    """
    results = load_results(folder)
    problems: list[str] = []
    rows: list[Rows] = []
    for number, pipeline in enumerate(results.pipelines, 1):
        try:
            found = load_queries(folder, results, pipeline.name)
        except InputError as error:
            problems.append(str(error))
            found = []
        rows.append({row.id: _slim(row) for row in found})
        if progress is not None:
            progress("reading", number, len(results.pipelines))
    passages: dict[str, Passage] = {}
    try:
        if any(rows):
            passages = load_passages(folder)
    except InputError as error:
        problems.append(str(error))
    return RunData(results, rows, passages, problems)


def _slim(row: QueryResult) -> QueryResult:
    """Leave out hits that the report does not show: a run may hold a hundred a row."""
    used = {evidence[0] for evidence in row.evidence}
    hits = tuple(hit for i, hit in enumerate(row.hits) if i < SHOWN_HITS or hit[0] in used)
    return row if len(hits) == len(row.hits) else replace(row, hits=hits)
