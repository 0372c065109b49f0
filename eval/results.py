"""What a run leaves behind: values that the report and the comparison read, and nothing else.

RUNDIR/results.json           `RunResults`: every pipeline's figures, and the manifest
RUNDIR/passages.jsonl         the passages that any query row names, once each
RUNDIR/queries/NAME.jsonl     one `QueryResult` a line, a file a pipeline
RUNDIR/runs/NAME.trec         its hits as a TREC run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What one pipeline made of one query.

    `answers` are the right ones; `answerable` is `None` where the set has no answers at all.
    `hits` are passage ids with scores, best first; `evidence` spans are `(passage id, start, end,
    score)`. `timings` are seconds by stage, `cached` the stages that were not computed anew.
    `cluster` names the document the query was written about, which several queries may share.
    `error` says why there is no answer; measures then have their worst value, or none.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    answerable: bool | None
    answer: str
    abstained: bool
    confidence: float | None
    hits: tuple[tuple[str, float], ...]
    evidence: tuple[tuple[str, int, int, float], ...]
    measures: Mapping[str, float]
    timings: Mapping[str, float]
    usage: Mapping[str, int]
    cached: tuple[str, ...] = ()
    cluster: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `n` queries with the bounds of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The figures of one pipeline.

    `settings` are the grid's keys with this pipeline's values. `latency` is stage -> `p50`, `p90`,
    `p95`, `p99`, `mean` in milliseconds, closed loop, after warm-up. `load` has a row for each
    rate of the open loop (empty: not run). `cost` has `index_bytes`, `build_seconds`,
    `bytes_a_passage`, `peak_rss_bytes`, `cold_start_seconds` and, with a GPU, `gpu_bytes`.
    `curves` are points by name: `risk-coverage`, `retention`, `noise`. `errors` are
    `query id: reason`.
    """

    name: str
    settings: Mapping[str, Any]
    measures: Mapping[str, Interval]
    latency: Mapping[str, Mapping[str, float]]
    cost: Mapping[str, float]
    load: Sequence[Mapping[str, float]] = ()
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference `b - a` of a measure; `p_holm` is corrected over all of the table."""

    a: str
    b: str
    measure: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the index-size ladder: a measure of one kind of index over so many passages."""

    kind: str
    passages: int
    measure: str
    mean: float
    low: float
    high: float
    index_bytes: int


@dataclass(frozen=True, slots=True)
class RunResults:
    """A whole run. `manifest` holds config, versions, hardware, hashes, command, date."""

    manifest: Mapping[str, Any]
    pipelines: Sequence[PipelineResult]
    comparisons: Sequence[Comparison] = ()
    ladder: Sequence[Rung] = ()
