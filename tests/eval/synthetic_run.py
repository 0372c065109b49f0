"""A run directory as `ragib eval` writes it, of any size, with texts that mean mischief."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from ragib.eval import rundir
from ragib.eval.results import (
    Comparison,
    Interval,
    PipelineResult,
    QueryResult,
    Rung,
    RunResults,
)
from ragib.types import Passage

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<!-- <script> ]]> &lt;b&gt; \u2028\u2029 end",
    "\u202eright to left\u202c and \u05e9\u05dc\u05d5\u05dd \u0639\u0644\u064a\u0643\u0645",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467, flag \U0001f1eb\U0001f1f7, \u4e2d\u6587",
    "bell \x07 null \x00 escape \x1b[31m high \x9b and half \ud83d",
    "https://example.com/?a=1&b=2 'single' \"double\" `back`",
)
_WORDS = (
    "the river city bridge was built in old stone tower by king queen emperor during war of which "
    "named after author wrote poem about sea and mountain its people north south first century "
    "song science engine light who discovered element metal star moon orbit telescope later"
).split()


def pipelines(count: int) -> list[tuple[str, dict[str, object]]]:
    """Name the first pipelines of a grid, with their settings."""
    grid = product(("dense", "multivector", "sparse", "hybrid"), (1, 2), ("none", "ib"),
                   ("reader", "vllm Qwen3-4B-Instruct"))  # fmt: skip
    found = []
    for kind, pool, compressor, generator in grid:
        settings = {
            "retriever.using": kind,
            "index.multivector.pool_factor": pool,
            "compressor": {"name": compressor, "keep": 0.3} if compressor == "ib" else "none",
            "generator.name": generator,
        }
        keep = " keep=0.3" if compressor == "ib" else ""
        found.append((f"{kind} pool={pool} {compressor}{keep} {generator}", settings))
    return found[:count]


def write_run(
    folder: Path, count: int = 32, queries: int = 200, *, seed: int = 0, answers: bool = True
) -> RunResults:
    """Write a run of `count` pipelines over `queries` queries, and return its figures."""
    random_ = random.Random(seed)
    passages, asked = _asked(random_, queries)
    rundir.save_passages(folder, passages.values())
    named = pipelines(count)
    stems = rundir.file_names([name for name, _ in named])
    found: list[PipelineResult] = []
    scores: list[list[float]] = []
    for place, (name, settings) in enumerate(named):
        skill = 0.35 + 0.25 * random_.random()
        rows = [
            _row(random_, id, *one, passages, skill, name, answers) for id, one in asked.items()
        ]
        rundir.save_queries(folder, stems[name], rows)
        measure = "f1/squad2" if answers else "nDCG@10"
        scores.append([row.measures[measure] for row in rows])
        found.append(_pipeline(random_, name, settings, rows, place))
    results = RunResults(
        _manifest(),
        found,
        _compared(random_, found),
        _ladder(random_) if count > 1 else (),
    )
    rundir.save_results(folder, results)
    return results


def _asked(
    random_: random.Random, queries: int
) -> tuple[dict[str, Passage], dict[str, tuple[str, tuple[str, ...], list[str]]]]:
    passages: dict[str, Passage] = {}
    asked = {}
    for number in range(queries):
        ids = []
        for rank in range(12):
            id = f"p{number}-{rank}"
            text = " ".join(_sentence(random_) for _ in range(random_.randint(3, 8)))
            if rank == 0:
                text = f"{HOSTILE[number % len(HOSTILE)]}. {text}"
            passages[id] = Passage(id, f"doc-{number}", text, _sentence(random_)[:30], 0, len(text))
            ids.append(id)
        question = _sentence(random_).rstrip(".") + "?"
        if number % 10 == 0:
            question = HOSTILE[number // 10 % len(HOSTILE)] + " " + question
        asked[f"q{number}"] = (question, (" ".join(random_.sample(_WORDS, 2)),), ids)
    return passages, asked


def _sentence(random_: random.Random) -> str:
    words = random_.choices(_WORDS, k=random_.randint(6, 20))
    return " ".join(words).capitalize() + "."


def _row(
    random_: random.Random,
    id: str,
    question: str,
    right: tuple[str, ...],
    ids: Sequence[str],
    passages: dict[str, Passage],
    skill: float,
    name: str,
    answers: bool,
) -> QueryResult:
    hits = random_.sample(list(ids), 10)
    evidence = []
    for hit in hits[:5]:
        text = passages[hit].text
        first = text.find(".") + 1
        if "ib" not in name:
            evidence.append((hit, 0, len(text), 1.0))
        elif random_.random() < 0.6:
            evidence.append((hit, 0, first, random_.random()))
    well = random_.random() < skill
    slow = 4.0 if "vllm" in name else 1.0
    retrieve, generate = random_.lognormvariate(-4.5, 0.4), slow * random_.lognormvariate(-3, 0.6)
    words_in = sum(len(passages[hit].text.split()) for hit in hits[:5])
    kept = sum(len(passages[hit].text[a:b].split()) for hit, a, b, _ in evidence)
    score = 1.0 if well else random_.choice((0.0, 0.0, 0.4))
    row = QueryResult(
        id=id,
        question=question,
        answers=right if answers else (),
        answerable=True if answers else None,
        answer=(right[0] if well else " ".join(random_.sample(_WORDS, 3))) if answers else "",
        abstained=answers and random_.random() < 0.05,
        confidence=random_.random(),
        hits=tuple((hit, 1.0 - i / 20) for i, hit in enumerate(hits)),
        evidence=tuple(evidence) if answers else (),
        measures={"f1/squad2": score, "em/squad2": float(well), "nDCG@10": random_.random()}
        if answers
        else {"nDCG@10": random_.random()},
        timings={"retrieve": retrieve, "generate": generate, "total": retrieve + generate},
        usage={"words_in": words_in, "words_kept": kept, "prompt_tokens": int(kept * 1.4)},
        cached=("retrieve",) if random_.random() < 0.1 else (),
    )
    if random_.random() < 0.01:
        zero = dict.fromkeys(row.measures, 0.0)
        row = replace(row, error="GenerationError: the server said 503", answer="", measures=zero)
    return row


def _interval(values: Sequence[float]) -> Interval:
    n = len(values)
    mean = sum(values) / n if n else 0.0
    half = 1.96 * math.sqrt(max(mean * (1 - mean), 0.0) / n) if n else 0.0
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0), n)


def _pipeline(
    random_: random.Random,
    name: str,
    settings: dict[str, object],
    rows: Sequence[QueryResult],
    place: int,
) -> PipelineResult:
    names = list(rows[0].measures) if rows else ["f1/squad2"]
    measures = {key: _interval([row.measures[key] for row in rows]) for key in names}
    measures["evidence-recall"] = _interval([random_.random() for _ in rows])
    measures["kept"] = _interval([random_.random() / 3 for _ in rows])
    measures["AURC/dpr"] = _interval([random_.random() / 3 for _ in rows])
    times = {
        stage: sorted(1000 * row.timings.get(stage, 0.004 * random_.random()) for row in rows)
        for stage in ("retrieve", "compress", "generate", "total")
    }
    latency = {
        stage: {
            **{
                f"p{p}": found[min(len(found) * p // 100, len(found) - 1)] for p in (50, 90, 95, 99)
            },
            "mean": sum(found) / len(found),
        }
        for stage, found in times.items()
        if found
    }
    size = {"dense": 1.5e8, "multivector": 1.6e9, "sparse": 6e7, "hybrid": 1.8e9}[name.split()[0]]
    size /= 2 if "pool=2" in name and size > 1e9 else 1
    floor = 0.1 + 0.3 * random_.random()
    curves = {
        "risk-coverage": [(i / 100, floor * (i / 100) ** 0.7) for i in range(1, 101)],
        "noise": [(n, 0.65 - 0.02 * n - len(name.partition("pool=")[2]) / 200) for n in (0, 2, 4)],
    }
    if "ib" in name:
        curves["retention"] = [
            (share, 1 - math.exp(-14 * share)) for share in (0.05, 0.1, 0.2, 0.3)
        ]
    load = [
        {"rate": rate, "p95": latency["total"]["p95"] / (1 - rate / 9), "goodput": rate * 0.98}
        for rate in (1.0, 2.0, 4.0, 8.0)
        if latency and place % 4 == 0
    ]
    errors = [f"{row.id}: {row.error}" for row in rows if row.error is not None]
    cost = {"index_bytes": size, "build_seconds": size / 5e6, "bytes_a_passage": size / 1e5,
            "peak_rss_bytes": 2e9 + size, "cold_start_seconds": 1.2 + random_.random()}  # fmt: skip
    return PipelineResult(name, settings, measures, latency, cost, load, curves, errors)


def _compared(random_: random.Random, found: Sequence[PipelineResult]) -> list[Comparison]:
    compared = []
    for one in found[1:]:
        for measure, value in one.measures.items():
            difference = value.mean - found[0].measures[measure].mean
            p = math.exp(-abs(difference) * 60) * random_.random()
            bounds = (difference - 0.03, difference + 0.03)
            names = (found[0].name, one.name, measure)
            compared.append(Comparison(*names, difference, *bounds, p, min(1.0, 9 * p)))
    return compared


def _ladder(random_: random.Random) -> list[Rung]:
    rungs = []
    for kind, slope in (("dense", 0.09), ("multivector", 0.05), ("sparse", 0.035)):
        for n in (1000, 10_000, 100_000):
            mean = 0.85 - slope * math.log10(n / 1000) - random_.random() / 50
            rungs.append(Rung(kind, n, "nDCG@10", mean, mean - 0.03, mean + 0.03, n * 1500))
    return rungs


def _manifest() -> dict[str, object]:
    return {
        "command": "ragib eval configs/grid.yaml --data qa/dev.jsonl.gz --out runs/grid",
        "data": {"name": "dev", "files": {"qa/dev.jsonl.gz": "53aa51172d142c89d9012cce15ae4d6c"}},
        "date": "2026-01-31T12:00:00Z",
        "versions": {"ragib": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu"},
        "hardware": {"processor": "AMD EPYC 9554", "cores": 2, "memory_gib": 31},
        "config": "base:\n  retriever: {k: 5}\ngrid:\n  retriever.using: [dense, sparse]\n",
        "note": HOSTILE[0],
    }
