"""Quality and query times of an index on a judged set, measured alike in every benchmark."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ragib.config import Using
from ragib.eval.datasets import JudgedSet
from ragib.eval.measures import Run, document_scores, mean, retrieval
from ragib.indexes.index import Index

MEASURES = ("nDCG@10", "R@100")
PASSAGES = 200
"""Hits a query for the measures: more than 100, as a long document has several passages."""
WARM_UP, TIMED = 10, 200
"""Questions that warm a system up, and those that are timed."""


def search_all(index: Index, data: JudgedSet, using: Using) -> Run:
    """Search all questions; a document scores as its best passage."""
    hits = index.search_batch(list(data.queries.values()), k=PASSAGES, using=using)
    return dict(zip(data.queries, map(document_scores, hits), strict=True))


def quality(data: JudgedSet, run: Run) -> dict[str, float]:
    """Return the mean of every measure."""
    return {name: mean(of) for name, of in retrieval(data.qrels, run, MEASURES).items()}


def query_times(index: Index, questions: Sequence[str], using: Using) -> dict[str, float]:
    """Return p50 and p95 milliseconds of single questions, one after the other, for ten hits."""
    for question in questions[:WARM_UP]:
        index.search(question, k=10, using=using)
    seconds = []
    for question in questions[:TIMED]:
        started = time.perf_counter()
        index.search(question, k=10, using=using)
        seconds.append(time.perf_counter() - started)
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"p50_ms": float(p50) * 1000, "p95_ms": float(p95) * 1000}
