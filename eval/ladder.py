"""The index-size ladder: how quality changes as a corpus grows around the same questions.

Every rung holds all relevant documents, and the others by the order of a hash of their ids, so
that each rung is part of the next. Reimers and Gurevych 2021, "The Curse of Dense Low-Dimensional
Information Retrieval for Large Index Sizes", https://arxiv.org/abs/2012.14210.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ragib.config import Config
from ragib.errors import ConfigError
from ragib.eval.builds import Progress, build_all, corpus_digest, shared_indexes
from ragib.eval.cost import index_bytes
from ragib.eval.evalset import EvalSet
from ragib.eval.grid import LadderConfig
from ragib.eval.measures import retrieval
from ragib.eval.registry import find
from ragib.eval.results import Rung
from ragib.eval.stages import Failure, Stages, search
from ragib.eval.statistics import bootstrap_interval
from ragib.text import batched
from ragib.types import Document

BATCH = 64


def climb(
    plan: LadderConfig,
    base: Config,
    data: EvalSet,
    stages: Stages,
    cache: Path,
    progress: Progress,
) -> list[Rung]:
    """Build and measure every rung; a size beyond the corpus is the whole corpus, once.

    Parameters
    ----------
    plan
        Sizes in documents, kinds and measure.
    base
        How indexes are built and searched.
    data
        Questions, judgements and documents.
    stages
        Where results are kept.
    cache
        Where indexes are kept.
    progress
        Called with a stage.

    Raises
    ------
    ConfigError
        The measure is not one of retrieval, or the set has no judgements.
    """
    if find(plan.measure).needs != "judgements":
        raise ConfigError(f"ladder.measure: {plan.measure} is not a measure of retrieval")
    if not data.qrels:
        raise ConfigError(f"ladder: {data.name} has no judgements to measure retrieval by")
    order = _order(data)
    rungs = []
    queries = [query for query in data.queries if query.judged]
    texts = [query.text for query in queries]
    for size in sorted({min(size, len(order)) for size in plan.sizes}):
        configs: dict[str, Config] = {
            kind: base.model_copy(
                update={"retriever": base.retriever.model_copy(update={"using": kind})}
            )
            for kind in plan.kinds
            if size <= plan.most.get(kind, size)
        }
        served = shared_indexes(configs)
        wanted = list({config.model_dump_json(): config for config in served.values()}.values())
        inside = frozenset(order[: max(size, _gold(data))])
        documents = _within(data, inside)
        digest, _ = corpus_digest(documents())
        named = _named(progress, f"ladder {len(inside):,}")
        built = dict(zip(
            (config.model_dump_json() for config in wanted),
            build_all(wanted, documents, digest, cache, named),
            strict=True,
        ))  # fmt: skip
        for kind in plan.kinds:
            if kind not in configs:
                continue
            config = configs[kind]
            at = built[served[kind].model_dump_json()]
            run: dict[str, dict[str, float]] = {}
            for batch in batched(list(range(len(texts))), BATCH):
                made = search(
                    stages, (at.id, at.index), config.retriever, [texts[i] for i in batch]
                )
                run |= {
                    queries[i].id: one.value
                    for i, one in zip(batch, made, strict=True)
                    if not isinstance(one.value, Failure)
                }
            values = retrieval(data.qrels, run, [plan.measure])[plan.measure]
            names = list(values)
            interval = bootstrap_interval(
                [values[name] for name in names], [data.clusters[name] for name in names]
            )
            rungs.append(
                Rung(
                    kind=kind,
                    passages=len(at.index),
                    measure=plan.measure,
                    mean=interval.mean,
                    low=interval.low,
                    high=interval.high,
                    index_bytes=index_bytes(at.index, kind),
                )
            )
        for one in built.values():
            one.close()
    return rungs


def _order(data: EvalSet) -> list[str]:
    """Return the ids of all documents: the relevant ones, then the others in a settled order."""
    gold = {document for query in data.queries for document in query.gold}
    names = [document.id for document in data.documents()]
    return sorted(names, key=lambda name: (name not in gold, _hash(name)))


def _gold(data: EvalSet) -> int:
    return len({document for query in data.queries for document in query.gold})


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def _within(data: EvalSet, inside: frozenset[str]) -> Callable[[], Iterator[Document]]:
    return lambda: (document for document in data.documents() if document.id in inside)


def _named(progress: Progress, name: str) -> Progress:
    return lambda stage, done, total: progress(f"{name}: {stage}", done, total)
