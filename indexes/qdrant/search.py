"""Searching a collection: vectors of questions in, the best rows of each kind out.

All kinds of all questions go to the server in one request, and are fused here by the code that
fuses those of an index directory. A server leaves open which of several equal passages it
returns, so a few more are asked for, and more again while the last place is tied.

MaxSim over all passages of a large collection costs the server too much, so it is taken over the
best that the dense vectors and the terms find, unless told otherwise. An index without dense
vectors, which alone rank every passage, is always looked at whole.

What `QdrantClient(":memory:")`, with which this is tested, does not show: there, dense search is
always exact. On a server it is, too, unless `hnsw_ef` is set: then the graph that the server has
built is walked (until then it scans), which is faster and may miss a passage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragib.config import Kind, StoreConfig
from ragib.indexes.base import TopK
from ragib.indexes.qdrant.connect import Server, explained, models
from ragib.indexes.qdrant.filter import Allowed
from ragib.indexes.topk import empty, rank
from ragib.text import batched

_AT_ONCE = 96
"""Searches a request: a batch of 32 questions in three kinds."""

_SPARE = 16
_WIDER = 4

Vector = Any
"""`(d,)` or `(v, d)` float32, or a pair of lists (numbers of terms, weights); `None`: no vector."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The vectors of questions, by kind; those of `kinds` are searched for."""

    kinds: Sequence[Kind]
    vectors: Mapping[Kind, Sequence[Vector]]


def search(
    server: Server, collection: str, asked: Asked, k: int, allowed: Allowed, store: StoreConfig
) -> dict[Kind, TopK]:
    """Return the best `k` rows of every question in every kind; `store` says how to search.

    A question without a vector finds nothing. Only passages that share a term with a question are
    found by terms.
    """
    found = {kind: empty(len(asked.vectors[kind]), k) for kind in asked.kinds}
    wanted = [
        (kind, number, k + _SPARE)
        for kind in asked.kinds
        for number, vector in enumerate(asked.vectors[kind])
        if vector is not None
    ]
    while wanted:
        again = []
        for some in batched(wanted, _AT_ONCE):
            requests = [_request(asked, *one, allowed, store) for one in some]
            with explained(server):
                answers = server.client.query_batch_points(collection, requests=requests)
            for (kind, number, limit), answer in zip(some, answers, strict=True):
                points = answer.points
                if len(points) == limit and points[k - 1].score == points[-1].score:
                    again.append((kind, number, limit * _WIDER))
                    continue
                rows = np.array([[point.id for point in points]], np.int64).reshape(1, -1)
                scores = np.array([[point.score for point in points]], np.float32).reshape(1, -1)
                best = rank(rows, scores, k)
                found[kind].rows[number] = best.rows[0]
                found[kind].scores[number] = best.scores[0]
        wanted = again
    return found


def _request(
    asked: Asked, kind: Kind, number: int, limit: int, allowed: Allowed, store: StoreConfig
) -> Any:  # noqa: ANN401
    m = models()
    before = None
    if kind == "multivector" and store.candidates and asked.vectors.get("dense"):
        before = [
            m.Prefetch(
                query=_query(other, vectors[number]),
                using=other,
                filter=allowed.condition,
                params=_params(other, store),
                limit=max(store.candidates, limit),
            )
            for other, vectors in asked.vectors.items()
            if other != kind and vectors[number] is not None
        ]
    return m.QueryRequest(
        query=_query(kind, asked.vectors[kind][number]),
        using=kind,
        prefetch=before,
        filter=allowed.condition,
        params=_params(kind, store),
        limit=limit,
        with_payload=False,
    )


def _query(kind: Kind, vector: Vector) -> Any:  # noqa: ANN401
    m = models()
    if kind == "sparse":
        return m.NearestQuery(nearest=m.SparseVector(indices=vector[0], values=vector[1]))
    return m.NearestQuery(nearest=vector.tolist())


def _params(kind: Kind, store: StoreConfig) -> Any:  # noqa: ANN401
    m = models()
    if kind == "dense" and store.hnsw_ef is not None:
        return m.SearchParams(hnsw_ef=store.hnsw_ef)
    return m.SearchParams(exact=True)
