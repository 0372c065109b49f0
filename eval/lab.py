"""The times of every pipeline of a run, measured once on this machine and then kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import ragib
from ragib.eval.answering import Line
from ragib.eval.bench.common import provenance
from ragib.eval.builds import Progress
from ragib.eval.cache import Cache, key_of
from ragib.eval.evalset import EvalSet
from ragib.eval.grid import Grid
from ragib.eval.latency import (
    WARM_UP,
    closed_loop,
    cold_start,
    open_loop,
    percentiles,
    sample,
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Times of one pipeline: `timings` are seconds by query and stage, the rest as in results."""

    timings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    load: list[dict[str, float]] = field(default_factory=list)


class Lab:
    """Measures pipelines as their users have them.

    A measurement is kept by all it depends on, the machine and the versions of libraries too, so a
    run that was stopped does not time again what it has timed. `notes` counts both kinds.
    """

    def __init__(
        self, grid: Grid, data: EvalSet, cache: Cache, pipelines: int, progress: Progress
    ) -> None:
        self.notes = {"measured": 0, "from an earlier run": 0}
        self._grid = grid
        self._cache = cache
        self._queries = sample(data, grid.latency)
        timed = {query.id for query in self._queries}
        others = [query.text for query in data.queries if query.id not in timed]
        self._warm_up = (others or [query.text for query in self._queries])[:WARM_UP]
        there = provenance()
        self._machine = [there["hardware"], there["versions"]]
        self._done = 0
        self._total = pipelines * len(self._queries)
        self._progress = progress

    def measure(self, line: Line) -> Timed:
        """Time one pipeline: question after question, under load if asked for, and from cold."""
        if not self._queries:
            return Timed()
        key = key_of(
            ragib.__version__,
            self._machine,
            line.built.id,
            line.config.model_dump(mode="json"),
            [line.ranks, line.keeps, line.answers],
            [[query.id, query.text] for query in self._queries],
            self._grid.load and self._grid.load.model_dump(mode="json"),
        )
        found = self._cache.get("latency", [key])
        if key in found:
            self.notes["from an earlier run"] += 1
            timed = Timed(**found[key])
        else:
            timed = self._measured(line)
            self._cache.put("latency", {key: asdict(timed)})
            self.notes["measured"] += 1
        self._done += len(self._queries)
        self._progress("latency", self._done, self._total)
        return timed

    def _measured(self, line: Line) -> Timed:
        timings = closed_loop(line.plain, self._queries, self._warm_up, self._shown())
        texts = [query.text for query in self._queries]
        load: list[dict[str, float]] = []
        plan = self._grid.load
        for rate in plan.rates if plan is not None else ():
            assert plan is not None
            self._progress(f"load: {line.name}", len(load), len(plan.rates))
            load.append(
                open_loop(
                    line.plain,
                    texts,
                    rate=rate,
                    seconds=plan.seconds,
                    target_ms=plan.target_ms,
                )
            )
        cost = cold_start(line.built.folder, line.config, texts[0])
        return Timed(timings, percentiles(timings), cost, load)

    def _shown(self) -> Callable[[int], None]:
        return lambda done: self._progress("latency", self._done + done, self._total)
