"""A generation that was pushed to a Qdrant server, read as if it were in an index directory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ragib.config import Kind, StoreConfig
from ragib.encoders import Encoder, TokenVectors
from ragib.errors import IndexDirError, InputError, StoreError
from ragib.indexes.base import Queries, TopK
from ragib.indexes.engines import Projection, make_engine
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.indexes.manifest import describe
from ragib.indexes.qdrant.alias import resolve
from ragib.indexes.qdrant.connect import Server, connect, explained, models
from ragib.indexes.qdrant.filter import Allowed, allowed
from ragib.indexes.qdrant.head import HeadReader
from ragib.indexes.qdrant.layout import check_name, passage_of
from ragib.indexes.qdrant.search import Asked, Vector, search
from ragib.text import batched
from ragib.types import Passage

if TYPE_CHECKING:
    from ragib.indexes.dense import DenseEngine
    from ragib.indexes.sparse import SparseEngine

_PAGE = 256

_FACTS = ("format", "ragib", "created", "generation", "documents", "passages", "restricted")


def open_index(
    path: str | Path, store: StoreConfig, *, verify: bool = False, encoder: Encoder | None = None
) -> Index:
    """Open an index where its passages are searched.

    Parameters
    ----------
    path
        The index directory. With the store `qdrant`, only its name is used, and only if `store`
        names no collection: the directory need not be on this machine.
    store
        As `retriever.store` of a configuration.
    verify
        Of an index directory, hash every file first.
    encoder
        Used in place of loading the one the index names, when a search needs it.

    Raises
    ------
    IndexDirError, StoreError
        There is no such index, or it cannot be read.
    OfflineError
        It is on a server and the network is switched off.
    """
    if store.name == "native":
        return Index.open(path, verify=verify, encoder=encoder)
    name = check_name(store.collection or Path(path).resolve().name)
    server = connect(store.url, store.api_key_env)
    return Index(QdrantGeneration(server, name, store), encoder)


class QdrantGeneration:
    """The collection that an alias leads to now; it stays the same until `renewed`.

    A push leaves the collection it replaces in place, and the next one removes it, so there is
    the time of one generation to move on.

    Raises
    ------
    StoreError
        The server cannot be reached, or the alias does not lead to a pushed index.
    """

    def __init__(self, server: Server, alias: str, store: StoreConfig) -> None:
        self.name = f"{server.url}/{alias}"
        self._server = server
        self._alias = alias
        self._store = store
        self.collection = resolve(server, alias)
        self._reader = HeadReader(server, self.collection)
        head = self._reader.head()
        if head is None:
            raise StoreError(
                f"{server.url}: the collection {self.collection!r} was not pushed by ragib, or its "
                "push has not finished; run `ragib push` again"
            )
        self._head = head
        self.manifest = head.manifest

    @property
    def root(self) -> Path:
        """There is none; raises `StoreError`."""
        raise StoreError(
            f"{self.name}: what is on a server cannot be changed there; change the index "
            "directory, then run `ragib push` again"
        )

    def explained(self) -> AbstractContextManager[None]:
        """Add nothing to the errors of what is done inside: the server checks its own files."""
        return nullcontext()

    def needs(self, kinds: Sequence[Kind]) -> tuple[bool, bool]:
        """Say whether a search of these kinds needs vectors of the questions, and of their tokens.

        Token vectors are compared with candidates, for which dense vectors are needed.
        """
        return "dense" in self._asked(kinds), "multivector" in kinds

    def allowed(self, where: Where | None, allow: Iterable[str]) -> Allowed:
        """Say which passages a search may return; raises `InputError` as `Snapshot.allowed`."""
        return allowed(
            where, allow, self._head, lambda key, text: self._reader.ranks(self._head, key, text)
        )

    def nothing(self, allowed: Allowed) -> bool:
        """Say whether there is no such passage, as far as is known without asking."""
        return allowed.nothing or not self.manifest.passages

    def find(
        self, kinds: Sequence[Kind], queries: Queries, k: int, allowed: Allowed
    ) -> dict[Kind, TopK]:
        """Return the best `k` rows of each query in each kind."""
        vectors = {kind: self._vectors(kind, queries) for kind in self._asked(kinds)}
        return search(self._server, self.collection, Asked(kinds, vectors), k, allowed, self._store)

    def rows(self, rows: Iterable[int]) -> dict[int, Passage]:
        """Return the passages of these rows."""
        found: dict[int, Passage] = {}
        for some in batched(sorted({int(row) for row in rows}), _PAGE):
            with explained(self._server):
                records = self._server.client.retrieve(self.collection, some, with_payload=True)
            found |= {record.id: passage_of(record.payload) for record in records}
            if missing := [row for row in some if row not in found]:
                raise StoreError(
                    f"{self.name}: the passage of row {missing[0]} is gone from "
                    f"{self.collection!r}; delete that collection, then push the index again"
                )
        return found

    def find_passage(self, id_: str) -> Passage | None:
        """Return the passage with this id."""
        m = models()
        same = m.Filter(must=[m.FieldCondition(key="id", match=m.MatchValue(value=id_))])
        with explained(self._server):
            records, _ = self._server.client.scroll(self.collection, same, limit=1)
        return passage_of(records[0].payload) if records else None

    def live(self) -> Iterator[Passage]:
        """Read all passages, in row order."""
        at: Any = 0
        while isinstance(at, int):  # the points that are no passages come last
            with explained(self._server):
                records, at = self._server.client.scroll(self.collection, limit=_PAGE, offset=at)
            yield from (passage_of(r.payload) for r in records if isinstance(r.id, int))

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the generation, as JSON values."""
        facts = describe(self.manifest)
        return {
            "path": self.name,
            "collection": self.collection,
            **{key: facts[key] for key in _FACTS},
            "kinds": dict(self.manifest.engines),
            "encoder": facts["encoder"],
            "config": facts["config"],
        }

    def is_current(self) -> bool:
        """Say whether the alias still leads to this collection."""
        return resolve(self._server, self._alias) == self.collection

    def renewed(self) -> QdrantGeneration:
        """Open the collection that the alias leads to now."""
        return QdrantGeneration(self._server, self._alias, self._store)

    def close(self) -> None:
        """Close the connection."""
        self._server.client.close()

    def _asked(self, kinds: Sequence[Kind]) -> list[Kind]:
        """Return the kinds whose vectors a search of `kinds` needs."""
        if "multivector" in kinds and self._store.candidates and "dense" in self._head.widths:
            return [*self._head.widths]
        return [*kinds]

    def _vectors(self, kind: Kind, queries: Queries) -> Sequence[Vector]:
        match kind:
            case "dense":
                vectors = self._dense.queries(queries)
                _check_width(vectors.shape[1], self._head.widths[kind], "the query vectors")
                return list(vectors)
            case "sparse":
                return self._terms(queries.texts)
            case "multivector":
                assert queries.encoded is not None
                assert queries.encoded.tokens is not None
                return [self._reduced(tokens) for tokens in queries.encoded.tokens]

    def _terms(self, texts: Sequence[str]) -> list[Vector]:
        bags = self._sparse.queries(texts)
        numbers = self._reader.numbers(self._head, dict.fromkeys(t for bag in bags for t in bag))
        pairs = [
            [(numbers[term], float(weight)) for term, weight in bag.items() if term in numbers]
            for bag in bags
        ]
        return [tuple(map(list, zip(*pair, strict=True))) or None for pair in pairs]

    def _reduced(self, tokens: TokenVectors) -> Vector:
        """Return the token vectors of a query as they are compared, `(v, width)`."""
        from ragib.indexes.codes import turned
        from ragib.indexes.pooling import normalised

        vectors, what = tokens.vectors, "the token vectors of the query"
        if self._projection is not None:
            _check_width(vectors.shape[1], len(self._projection), what)
            vectors = vectors @ self._projection
        if not np.isfinite(vectors).all():
            raise InputError("a token vector of the query is not finite; check the encoder's dtype")
        if not len(vectors):
            return None
        reduced = turned(normalised(vectors), self.manifest.config.multivector.storage)
        _check_width(reduced.shape[1], self._head.widths["multivector"], what)
        return reduced

    @cached_property
    def _projection(self) -> Projection | None:
        return self._reader.projection()

    @cached_property
    def _dense(self) -> DenseEngine:
        return cast("DenseEngine", make_engine("dense", self.manifest.config, None))

    @cached_property
    def _sparse(self) -> SparseEngine:
        engine = make_engine("sparse", self.manifest.config, None)
        recorded, now = self.manifest.engines["sparse"], engine.describe()
        if json.dumps(recorded, sort_keys=True) != json.dumps(now, sort_keys=True):
            raise IndexDirError(
                f"{self.name}: its sparse index was built as {recorded}, but this version of ragib "
                f"makes {now}; build the index again and push it"
            )
        return cast("SparseEngine", engine)


def _check_width(width: int, expected: int, what: str) -> None:
    if width != expected:
        raise InputError(
            f"{what} have {width} dimensions and the index has {expected}; "
            "search with the encoder it was built with"
        )
