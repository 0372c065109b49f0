"""The passages of a generation as points, a request at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ragib.config import Kind
from ragib.indexes.qdrant.connect import models
from ragib.indexes.qdrant.export import Exported, Terms, export
from ragib.indexes.qdrant.facts import Ranks, asked_of, gather, payload
from ragib.indexes.qdrant.head import Head, Part, make_head, parts
from ragib.indexes.qdrant.layout import payload_of
from ragib.indexes.snapshot import Snapshot

_NUMBERS = 200_000
"""Numbers a request, about: some 5 MB of JSON. Servers take 32 MB unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Source:
    """A generation, opened for pushing; `ranks` are those of the strings of its metadata."""

    snapshot: Snapshot
    kinds: Mapping[Kind, Exported]
    head: Head
    ranks: Ranks

    def parts(self) -> Iterator[Part]:
        """Cut what a searcher needs besides the passages into parts; the manifest is the last."""
        return parts(self.head, _terms(self.kinds), self.ranks, self.snapshot.projection)


def open_source(snapshot: Snapshot) -> Source:
    """Read what concerns all passages: their terms, and what their metadata can be asked for.

    The distinct strings of the metadata are held in memory.
    """
    kinds = {kind: export(snapshot, kind) for kind in snapshot.manifest.config.kinds}
    documents = groupby(snapshot.live(), lambda passage: passage.doc_id)
    numbers, ranks = gather(next(passages).metadata for _, passages in documents)
    widths = {kind: exported.width for kind, exported in kinds.items()}
    head = make_head(snapshot.manifest, widths, _terms(kinds), numbers, ranks)
    return Source(snapshot, kinds, head, ranks)


def requests(source: Source, rows: Sequence[int]) -> Iterator[list[Any]]:
    """Yield the points of rows, as many at a time as fill a request."""
    passages = source.snapshot.rows(rows)
    document = ""
    filtered: dict[str, Any] = {}
    request: list[Any] = []
    full = 0
    for row in rows:
        passage = passages[row]
        if passage.doc_id != document:
            document = passage.doc_id
            filtered = payload(asked_of(passage.metadata), source.head.numbers, source.ranks)
        vectors, size = _vectors(source, row)
        size += len(passage.text) // 20
        if request and full + size > _NUMBERS:
            yield request
            request, full = [], 0
        kept = {**payload_of(passage), **filtered}
        request.append(models().PointStruct(id=row, vector=vectors, payload=kept))
        full += size
    if request:
        yield request


def _vectors(source: Source, row: int) -> tuple[dict[str, Any], int]:
    """Return the vectors of a row, and how many numbers they are; empty ones are left out."""
    vectors: dict[str, Any] = {}
    size = 0
    for kind, exported in source.kinds.items():
        vector = exported.row(row)
        if isinstance(vector, Terms):
            numbers, weights = vector.numbers.tolist(), vector.weights.tolist()
            if numbers:
                vectors[kind] = models().SparseVector(indices=numbers, values=weights)
            size += 2 * len(numbers)
        elif len(vector):
            vectors[kind] = vector.tolist()
            size += vector.size
    return vectors, size


def _terms(kinds: Mapping[Kind, Exported]) -> Sequence[str]:
    return kinds["sparse"].terms if "sparse" in kinds else ()
