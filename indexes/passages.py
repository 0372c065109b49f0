"""The passages of a segment, in one SQLite file that is written once and then only read.

The passages of a document are neighbouring rows, and what they share (title, metadata, access
list) is stored once. Lists of groups are few, so documents refer to them by number.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.errors import IndexCorruptError, InputError
from ragib.text import batched
from ragib.types import PUBLIC, Document, Passage

NAME = "passages.sqlite"

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE access (list INTEGER NOT NULL, grp TEXT NOT NULL, PRIMARY KEY (list, grp))
    WITHOUT ROWID;
CREATE TABLE document (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    metadata TEXT NOT NULL, access INTEGER NOT NULL, first INTEGER NOT NULL,
    count INTEGER NOT NULL);
CREATE TABLE passage (
    row INTEGER PRIMARY KEY, document INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL);
"""
_SELECT = (
    "SELECT p.row, p.id, d.id, p.text, d.title, p.start, p.end, d.metadata, d.access "
    "FROM passage p JOIN document d ON d.number = p.document WHERE "
)
_MAX_VARIABLES = 500


@dataclass(frozen=True, slots=True)
class DocumentTable:
    """The documents of a segment, in row order.

    `first` and `count` are `(documents,)` int64: each document's first row and number of rows.
    `access` is `(documents,)` int64: the number of its access list.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    access: NDArray[np.int64]


class PassageWriter:
    """Writes the passages of one segment; a context manager, complete once it has been left."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(_SCHEMA)
        self._connection.execute("BEGIN")
        self._lists: dict[tuple[str, ...], int] = {}
        self.documents = 0
        self.passages = 0
        self.restricted = False

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        self._connection.close()

    def add(self, document: Document, passages: Sequence[Passage]) -> None:
        """Append a document with its passages.

        Raises
        ------
        InputError
            The document cannot be stored: no id, an id seen before, nothing to index, text that
            is not valid Unicode, metadata that is not JSON.
        """
        if not isinstance(document.id, str) or not document.id:
            raise InputError(f"document {document.id!r}: its id must be a string that is not empty")
        if not passages:
            raise InputError(f"document {document.id!r}: it has no text; leave it out")
        metadata = _dump(document)
        number, access = self.documents, self._access(document)
        try:
            self._connection.execute(
                "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, document.id, document.title, metadata, access, self.passages,
                 len(passages)),
            )  # fmt: skip
            self._connection.executemany(
                "INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (self.passages + i, number, p.id, p.text, p.start, p.end)
                    for i, p in enumerate(passages)
                ),
            )
        except sqlite3.IntegrityError:
            raise InputError(
                f"document {document.id!r}: its id, or that of one of its passages, is there "
                "twice; ids must be unique"
            ) from None
        except UnicodeEncodeError as error:
            raise InputError(
                f"document {document.id!r}: not valid Unicode: half of a surrogate pair at "
                f"position {error.start}; clean the text"
            ) from None
        self.documents += 1
        self.passages += len(passages)
        self.restricted |= PUBLIC not in document.access

    def _access(self, document: Document) -> int:
        if isinstance(document.access, str) or not all(isinstance(g, str) for g in document.access):
            raise InputError(f"document {document.id!r}: access must be a list of group names")
        groups = tuple(sorted(set(document.access)))
        if groups not in self._lists:
            self._lists[groups] = len(self._lists)
            rows = [(self._lists[groups], group) for group in groups]
            self._connection.executemany("INSERT INTO access VALUES (?, ?)", rows)
        return self._lists[groups]


class PassageReader:
    """Reads the passages of one segment; may be shared by threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._explained():
            self._connection = sqlite3.connect(
                path.absolute().as_uri() + "?mode=ro&immutable=1",
                uri=True,
                check_same_thread=False,
            )
        self.close = weakref.finalize(self, self._connection.close)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise IndexCorruptError(
                f"{self.path}: {error}; check the index with `ragib verify`"
            ) from None

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._explained(), self._lock:
            return self._connection.execute(sql, values).fetchall()

    @cached_property
    def documents(self) -> DocumentTable:
        """The place and access list of every document."""
        rows = self._query("SELECT first, count, access FROM document ORDER BY number")
        table = np.array(rows, np.int64).reshape(-1, 3).T
        return DocumentTable(*table)

    @cached_property
    def access(self) -> dict[int, tuple[str, ...]]:
        """The access lists by number; a list of nobody has no entry."""
        lists: dict[int, list[str]] = {}
        for number, group in self._query("SELECT list, grp FROM access ORDER BY list, grp"):
            lists.setdefault(number, []).append(group)
        return {number: tuple(groups) for number, groups in lists.items()}

    def metadata(self) -> list[str]:
        """Return the metadata of every document as JSON, in row order."""
        return [row[0] for row in self._query("SELECT metadata FROM document ORDER BY number")]

    def document_ids(self) -> list[str]:
        """Return the ids of all documents, in row order."""
        return [row[0] for row in self._query("SELECT id FROM document ORDER BY number")]

    def find_documents(self, ids: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return first row and number of rows of those documents that are in this segment."""
        found: dict[str, tuple[int, int]] = {}
        for some in batched(ids, _MAX_VARIABLES):
            sql = f"SELECT id, first, count FROM document WHERE id IN ({_marks(some)})"
            found |= {id_: (first, count) for id_, first, count in self._query(sql, some)}
        return found

    def rows(self, rows: Sequence[int]) -> dict[int, Passage]:
        """Return the passages with these row numbers."""
        found: dict[int, Passage] = {}
        for some in batched(rows, _MAX_VARIABLES):
            for row in self._query(_SELECT + f"p.row IN ({_marks(some)})", some):
                found[row[0]] = self._passage(row)
        return found

    def slice(self, start: int, stop: int) -> list[Passage]:
        """Return the passages of neighbouring rows."""
        sql = _SELECT + "p.row >= ? AND p.row < ? ORDER BY p.row"
        return [self._passage(row) for row in self._query(sql, (start, stop))]

    def find_passage(self, id_: str) -> tuple[int, Passage] | None:
        """Return the row number and the passage with this id, if it is in this segment."""
        rows = self._query(_SELECT + "p.id = ?", (id_,))
        return (rows[0][0], self._passage(rows[0])) if rows else None

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file."""
        try:
            found = [row[0] for row in self._query("PRAGMA integrity_check")]
        except IndexCorruptError as error:
            return [str(error)]
        return [f"{self.path}: {line}" for line in found if line != "ok"]

    def _passage(self, row: Any) -> Passage:  # noqa: ANN401
        _, id_, doc_id, text, title, start, end, metadata, access = row
        groups = self.access.get(access, ())
        return Passage(id_, doc_id, text, title, start, end, json.loads(metadata), groups)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _dump(document: Document) -> str:
    try:
        return json.dumps(
            dict(document.metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"document {document.id!r}: its metadata is not JSON: {error}") from None
