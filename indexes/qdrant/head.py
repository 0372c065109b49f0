"""What a searcher needs besides the passages, kept beside them in points without vectors.

The numbers of terms and the strings of metadata may be many, so they are cut into parts that are
fetched when a question or a filter first needs them, and then remembered.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import Kind
from ragib.errors import StoreError
from ragib.indexes.engines import Projection
from ragib.indexes.manifest import Manifest, from_bytes, to_bytes
from ragib.indexes.qdrant.connect import Server, explained
from ragib.indexes.qdrant.facts import PREFIX, Ranks
from ragib.indexes.qdrant.layout import LAYOUT, MANIFEST, PROJECTION, point_id
from ragib.text import batched

_TERMS = 512
"""Terms a part, about."""

_STRINGS = 1000
"""Strings a part."""

Part = tuple[str, dict[str, Any]]
"""The name of a part, from which its point has its id, and its payload."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is read first.

    `numbers` are the metadata keys that have numbers: the place of a key there is N in the payload
    of passages. `strings` are those that have strings, with the first string of each part.
    """

    manifest: Manifest
    widths: Mapping[Kind, int]
    buckets: int
    numbers: Sequence[str]
    strings: Mapping[str, Sequence[str]]


def make_head(
    manifest: Manifest,
    widths: Mapping[Kind, int],
    terms: Sequence[str],
    numbers: Sequence[str],
    ranks: Ranks,
) -> Head:
    """Put together the head of a generation; of the manifest, files are left out."""
    segments = tuple(s.model_copy(update={"files": ()}) for s in manifest.segments)
    bare = {"segments": segments, "projection": None, "tombstones": None}
    return Head(
        manifest=manifest.model_copy(update=bare),
        widths=widths,
        buckets=len(terms) // _TERMS + 1,
        numbers=numbers,
        strings={key: list(texts)[::_STRINGS] for key, texts in ranks.items()},
    )


def parts(
    head: Head,
    terms: Sequence[str],
    ranks: Ranks,
    projection: Projection | None,
) -> Iterator[Part]:
    """Cut what belongs to a head into parts; the manifest is the last."""
    if projection is not None:
        data = base64.b64encode(np.ascontiguousarray(projection, "<f4").tobytes()).decode()
        yield PROJECTION, {"shape": list(projection.shape), "data": data}
    buckets: dict[int, dict[str, int]] = {}
    for number, term in enumerate(terms):
        buckets.setdefault(_bucket(term, head.buckets), {})[term] = number
    for bucket, held in buckets.items():
        yield f"terms/{bucket}", {"terms": list(held), "numbers": list(held.values())}
    for number, texts in enumerate(ranks.values()):
        for place, values in enumerate(batched(texts, _STRINGS)):
            yield f"strings/{number}/{place}", {"values": values}
    yield (
        MANIFEST,
        {
            "layout": LAYOUT,
            "manifest": to_bytes(head.manifest).decode(),
            "widths": dict(head.widths),
            "buckets": head.buckets,
            "numbers": list(head.numbers),
            "strings": [[key, list(firsts)] for key, firsts in head.strings.items()],
        },
    )


@dataclass
class HeadReader:
    """Reads the head of a collection and its parts; may be shared by threads."""

    server: Server
    collection: str
    _terms: dict[int, dict[str, int]] = field(default_factory=dict)
    _strings: dict[str, list[str]] = field(default_factory=dict)

    def head(self) -> Head | None:
        """Return the head, or nothing if the collection is not complete or none of ours.

        Raises
        ------
        StoreError
            It was written by a newer version of ragib.
        """
        payload = self._fetch([MANIFEST]).get(MANIFEST)
        if payload is None:
            return None
        if payload.get("layout") != LAYOUT:
            raise StoreError(
                f"{self.server.url}: the collection {self.collection!r} has layout "
                f"{payload.get('layout')} and this version of ragib reads {LAYOUT}; upgrade ragib, "
                "or push the index again"
            )
        return Head(
            manifest=from_bytes(payload["manifest"].encode(), Path(self.collection)),
            widths=payload["widths"],
            buckets=payload["buckets"],
            numbers=payload["numbers"],
            strings=dict(payload["strings"]),
        )

    def projection(self) -> Projection | None:
        """Return the projection of token vectors, if the index has one."""
        payload = self._fetch([PROJECTION]).get(PROJECTION)
        if payload is None:
            return None
        data = np.frombuffer(base64.b64decode(payload["data"]), "<f4")
        return data.reshape(payload["shape"]).astype(np.float32)

    def numbers(self, head: Head, terms: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those terms that the index has."""
        of = {term: _bucket(term, head.buckets) for term in terms}
        missing = sorted({bucket for bucket in of.values() if bucket not in self._terms})
        if missing:
            found = self._fetch([f"terms/{bucket}" for bucket in missing])
            for bucket in missing:
                part = found.get(f"terms/{bucket}", {"terms": (), "numbers": ()})
                self._terms[bucket] = dict(zip(part["terms"], part["numbers"], strict=True))
        return {
            term: self._terms[bucket][term]
            for term, bucket in of.items()
            if term in self._terms[bucket]
        }

    def ranks(self, head: Head, key: str, text: str) -> tuple[int, int]:
        """Return how many strings of a key come before a text, and how many before or at it."""
        text, firsts = text[:PREFIX], head.strings[key]
        block = max(bisect_right(firsts, text) - 1, 0)
        name = f"strings/{list(head.strings).index(key)}/{block}"
        if name not in self._strings:
            self._strings[name] = self._fetch([name])[name]["values"]
        values, before = self._strings[name], block * _STRINGS
        return before + bisect_left(values, text), before + bisect_right(values, text)

    def _fetch(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        ids = {point_id(name): name for name in names}
        with explained(self.server):
            records = self.server.client.retrieve(self.collection, list(ids), with_payload=True)
        return {ids[str(record.id)]: record.payload for record in records}


def _bucket(term: str, buckets: int) -> int:
    digest = hashlib.sha256(term.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % buckets
