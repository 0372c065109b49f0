"""Reading the passages of a segment, out of one SQLite file that never changes."""

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

from ragib.errors import IndexCorruptError
from ragib.text import batched
from ragib.types import Passage

NAME = "passages.sqlite"

_SELECT = (
    "SELECT p.row, p.id, d.id, p.text, d.title, p.start, p.end, d.metadata, d.access "
    "FROM passage p JOIN document d ON d.number = p.document WHERE "
)
_MAX_VARIABLES = 500
_READ_AHEAD = 1000


@dataclass(frozen=True, slots=True)
class DocumentTable:
    """The documents of a segment, in row order.

    `first` and `count` are `(documents,)` int64: each document's first row and number of rows.
    `access` is `(documents,)` int64: the number of its access list.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    access: NDArray[np.int64]


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
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> IndexCorruptError:
        return IndexCorruptError(f"{self.path}: {error}; check the index with `ragib verify`")

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._explained(), self._lock:
            return self._connection.execute(sql, values).fetchall()

    @cached_property
    def documents(self) -> DocumentTable:
        """The place and access list of every document."""
        rows = self._query("SELECT first, count, access FROM document ORDER BY number")
        try:
            table = np.array(rows, np.int64).reshape(-1, 3).T
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged(error) from None
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

    def live(self, alive: NDArray[np.bool_]) -> Iterator[Passage]:
        """Read the passages of the flagged rows, in order and a few at a time."""
        for start in range(0, len(alive), _READ_AHEAD):
            for row, passage in enumerate(self.slice(start, start + _READ_AHEAD), start):
                if alive[row]:
                    yield passage

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
        try:
            values = json.loads(metadata)
            kinds = [type(value) for value in (id_, doc_id, text, title, start, end, values)]
            if kinds != [str, str, str, str, int, int, dict]:
                raise TypeError("a value has another type than its column")
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged(error) from None
        return Passage(id_, doc_id, text, title, start, end, values, groups)


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
