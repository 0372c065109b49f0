"""From questions to hits: mask, encode once, ask every kind, fuse, fetch the passages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from ragib.config import KINDS, Kind, RetrieverConfig
from ragib.encoders import Encoder
from ragib.errors import InputError, did_you_mean
from ragib.indexes.base import Queries, TopK
from ragib.indexes.candidates import find_among, proposers
from ragib.indexes.engines import uses_encoder
from ragib.indexes.filters import Where
from ragib.indexes.generation import Generation
from ragib.indexes.hybrid import fuse_convex, fuse_rrf
from ragib.indexes.operators import operated
from ragib.text import batched
from ragib.types import Hit

_BATCH = 256
"""Questions searched at a time; bounds the memory for their scores."""


def search_batch(
    snapshot: Generation,
    encoder: Callable[[], Encoder],
    questions: Sequence[str],
    config: RetrieverConfig,
    where: Where | None,
    allow: Iterable[str],
) -> list[list[Hit]]:
    """Return the hits of every question, best first.

    `encoder` is called only if a kind that is searched needs vectors of the questions.

    Raises
    ------
    InputError
        A question, the kind asked for, a weight or the filter cannot be used.
    """
    if isinstance(questions, str):
        raise InputError("expected a list of questions, got one string")
    for question in questions:
        if not isinstance(question, str) or not question.strip():
            raise InputError(f"a question must not be empty, got {question!r}")
    kinds = _kinds(snapshot, config)
    asked = proposers(config, kinds, snapshot.manifest.config.kinds)
    allowed = snapshot.allowed(where, allow)
    if snapshot.nothing(allowed):
        return [[] for _ in questions]
    hits: list[list[Hit]] = []
    parts: Iterable[tuple[list[str], Any]] = zip(batched(questions, _BATCH), repeat(allowed))
    if config.syntax:
        parts = operated(snapshot, questions, allowed)
    for batch, allowed in parts:
        queries = _encode(snapshot, [*kinds, *asked], encoder, batch)
        depth = config.k if len(kinds) == 1 else max(config.k, config.depth)
        if asked:
            results = find_among(snapshot, kinds, asked, queries, allowed, config)
        else:
            results = snapshot.find(kinds, queries, depth, allowed)
        hits += _hits(snapshot, results, _fuse(results, config))
    return hits


def _kinds(snapshot: Generation, config: RetrieverConfig) -> tuple[Kind, ...]:
    have = snapshot.manifest.config.kinds
    if config.using == "hybrid":
        for kind in config.weights:
            if kind not in have:
                raise InputError(
                    f"weights: {kind!r} is not in this index (it has {', '.join(have)})"
                    f"{did_you_mean(kind, have)}"
                )
        return tuple(kind for kind in KINDS if kind in have)
    if config.using not in have:
        raise InputError(f"using: {config.using!r} is not in this index (it has {', '.join(have)})")
    return (config.using,)


def _encode(
    snapshot: Generation, kinds: Sequence[Kind], encoder: Callable[[], Encoder], texts: list[str]
) -> Queries:
    if not uses_encoder(kinds):
        return Queries(texts)
    dense, tokens = snapshot.needs(kinds)
    return Queries(texts, encoder().queries(texts, dense=dense, tokens=tokens))


def _fuse(results: dict[Kind, TopK], config: RetrieverConfig) -> TopK:
    if len(results) == 1:
        return next(iter(results.values()))
    if config.fusion == "rrf":
        return fuse_rrf(results, config.k)
    return fuse_convex(results, config.weights, config.k)


def _hits(snapshot: Generation, results: dict[Kind, TopK], fused: TopK) -> list[list[Hit]]:
    passages = snapshot.rows(set(fused.rows[fused.rows >= 0].tolist()))
    hits: list[list[Hit]] = []
    for query, (rows, scores) in enumerate(zip(fused.rows, fused.scores, strict=True)):
        place: dict[Kind, dict[int, tuple[int, float]]] = {
            kind: {
                row: (rank, score)
                for rank, (row, score) in enumerate(
                    zip(top.rows[query].tolist(), top.scores[query].tolist(), strict=True), 1
                )
            }
            for kind, top in results.items()
        }
        hits.append(
            [
                Hit(
                    passages[row],
                    score,
                    {kind: places[row][0] for kind, places in place.items() if row in places},
                    {kind: places[row][1] for kind, places in place.items() if row in places},
                )
                for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
                if row >= 0
            ]
        )
    return hits
