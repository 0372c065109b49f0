"""`ragib push`: one generation of an index becomes a collection, then the one an alias leads to.

Nothing that is searched changes while passages are written; then one request moves the alias. A
push that was interrupted goes on where it was: points have their rows as ids, and the collection
is named after what is in it, so what is there already need not be sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ragib.errors import InputError, StoreError
from ragib.indexes.build import Progress
from ragib.indexes.qdrant.alias import collections, switch
from ragib.indexes.qdrant.connect import Server, explained, models
from ragib.indexes.qdrant.head import HeadReader
from ragib.indexes.qdrant.layout import (
    check_name,
    collection_of,
    point_id,
    shape_of,
    vectors_config,
)
from ragib.indexes.qdrant.points import Source, open_source, requests
from ragib.indexes.snapshot import Snapshot
from ragib.text import batched

_PAGE = 1000
"""Rows that are looked for at a time."""

_PARTS = 20
"""Parts of the head a request."""

_INDEXED_KEYS = 64
"""Metadata keys that get an index for ranges; ranges over others are scanned."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    `sent` passages were written now, `present` were there from an earlier push. `removed` are the
    older collections that were deleted, `unfinished` those of other pushes, which were left alone
    since they may be running.
    """

    url: str
    alias: str
    collection: str
    generation: int
    passages: int
    sent: int
    present: int
    removed: list[str]
    unfinished: list[str]


def push(snapshot: Snapshot, server: Server, alias: str, progress: Progress) -> Pushed:
    """Write a generation to a new collection and let the alias lead to it.

    Parameters
    ----------
    snapshot
        What to push; deleted passages are left out.
    server
        Where to.
    alias
        The name under which it is searched. The collection it led to before is kept for those who
        are reading it, older ones are deleted.
    progress
        Called with ("push", passages done, passages in all).

    Raises
    ------
    StoreError
        The server cannot be reached or refuses, or has something else under one of these names;
        what is searched is as it was.
    InputError
        There is nothing to push, or the name cannot be used.
    """
    manifest = snapshot.manifest
    if not manifest.passages:
        raise InputError(f"{snapshot.name}: the index holds no passages; there is nothing to push")
    collection = collection_of(check_name(alias), manifest)
    names = collections(server)
    if alias in names:
        raise StoreError(
            f"{server.url}: {alias!r} is a collection, and an alias of that name is wanted; name "
            "another with --collection, or delete it"
        )
    finished = collection in names and HeadReader(server, collection).head() is not None
    sent = 0
    if not finished:
        source = open_source(snapshot)
        _create(server, collection, source, there=collection in names)
        sent = _send(server, collection, source, progress)
        _finish(server, collection, source)
    progress("push", manifest.passages, manifest.passages)
    removed, unfinished = switch(server, alias, collection)
    return Pushed(
        url=server.url,
        alias=alias,
        collection=collection,
        generation=manifest.generation,
        passages=manifest.passages,
        sent=sent,
        present=manifest.passages - sent,
        removed=removed,
        unfinished=unfinished,
    )


def _create(server: Server, collection: str, source: Source, *, there: bool) -> None:
    """Make the collection, or check that the one that is there has the right vectors."""
    client = server.client
    dense, sparse = vectors_config(source.head.widths)
    with explained(server):
        if not there:
            client.create_collection(
                collection, vectors_config=dense, sparse_vectors_config=sparse or None
            )
        params = client.get_collection(collection).config.params
    found, wanted = shape_of(params.vectors, params.sparse_vectors), shape_of(dense, sparse)
    if found != wanted:
        raise StoreError(
            f"{server.url}: the collection {collection!r} has the vectors {found} and this index "
            f"{wanted}; delete it, then push again"
        )
    m = models()
    fields = dict.fromkeys(("id", "access", "facts"), m.PayloadSchemaType.KEYWORD)
    for place, schema, keys in (
        ("numbers", m.PayloadSchemaType.FLOAT, source.head.numbers),
        ("strings", m.PayloadSchemaType.INTEGER, source.head.strings),
    ):
        fields |= {f"{place}.{i}": schema for i in range(min(len(keys), _INDEXED_KEYS))}
    with explained(server):
        for name, schema in fields.items():
            client.create_payload_index(collection, name, field_schema=schema)


def _send(server: Server, collection: str, source: Source, progress: Progress) -> int:
    """Write the passages that are not there yet and return how many they were."""
    rows = np.flatnonzero(source.snapshot.alive).tolist()
    done = sent = 0
    for page in batched(rows, _PAGE):
        with explained(server):
            records = server.client.retrieve(collection, page, with_payload=False)
        there = {record.id for record in records}
        missing = [row for row in page if row not in there]
        done += len(there)
        for points in requests(source, missing):
            _upsert(server, collection, points)
            done += len(points)
            progress("push", done, len(rows))
        sent += len(missing)
    return sent


def _finish(server: Server, collection: str, source: Source) -> None:
    """Write what a searcher needs besides, check that all is there, then say so."""
    m = models()
    points = [
        m.PointStruct(id=point_id(name), vector={}, payload=payload)
        for name, payload in source.parts()
    ]
    for some in batched(points[:-1], _PARTS):
        _upsert(server, collection, some)
    with explained(server):
        count = server.client.count(collection, exact=True).count
    expected = source.snapshot.manifest.passages + len(points) - 1
    if count != expected:
        raise StoreError(
            f"{server.url}: the collection {collection!r} holds {count:,} points and not "
            f"{expected:,}; delete it, then push again"
        )
    _upsert(server, collection, points[-1:])


def _upsert(server: Server, collection: str, points: list[Any]) -> None:
    with explained(server):
        server.client.upsert(collection, points=points, wait=True)
