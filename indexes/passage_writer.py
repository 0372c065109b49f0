"""Writing the passages of a segment, to one SQLite file that is never changed afterwards.

The passages of a document are neighbouring rows, and what they share (title, metadata, access
list) is stored once. Lists of groups are few, so documents refer to them by number. The tables
are plain ones, which every SQLite of the last ten years can read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ragib.errors import IndexDirError, InputError
from ragib.types import PUBLIC, Document, Passage

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
BEGIN;
"""


class PassageWriter:
    """Writes the passages of one segment; a context manager, complete once it has been left.

    `documents`, `passages` and `restricted` (some document is not visible to everybody) tell
    what was written so far.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.documents = 0
        self.passages = 0
        self.restricted = False
        self._path = path
        self._lists: dict[tuple[str, ...], int] = {}

    def __enter__(self) -> PassageWriter:
        with _explained(self._path):
            self._connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            with _explained(self._path):
                self._connection.executescript(_SCHEMA)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                with _explained(self._path):
                    self._connection.execute("COMMIT")
        finally:
            self._connection.close()

    def add(self, document: Document, passages: Sequence[Passage]) -> None:
        """Append a document that has been checked, with its passages.

        Raises
        ------
        InputError
            Its id, or that of one of its passages, was there before.
        IndexDirError
            The file cannot be written.
        """
        first, number = self.passages, self.documents
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False, separators=(",", ":"))
        shared = (number, document.id, document.title, metadata, self._access(document))
        rows = [
            (row, number, passage.id, passage.text, passage.start, passage.end)
            for row, passage in enumerate(passages, first)
        ]
        with _explained(self._path):
            try:
                self._connection.execute(
                    "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?)", (*shared, first, len(rows))
                )
                self._connection.executemany("INSERT INTO passage VALUES (?, ?, ?, ?, ?, ?)", rows)
            except sqlite3.IntegrityError:
                raise InputError(
                    f"document {document.id!r}: its id, or that of one of its passages, is there "
                    "twice; ids must be unique"
                ) from None
        self.documents += 1
        self.passages += len(rows)
        self.restricted |= PUBLIC not in document.access

    def _access(self, document: Document) -> int:
        groups = tuple(sorted(set(document.access)))
        if groups not in self._lists:
            self._lists[groups] = len(self._lists)
            rows = [(self._lists[groups], group) for group in groups]
            self._connection.executemany("INSERT INTO access VALUES (?, ?)", rows)
        return self._lists[groups]


def check_document(document: Document) -> None:
    """Raise `InputError` for a document that cannot be stored; the message says why."""
    where = f"document {document.id!r}"
    if not isinstance(document.id, str) or not document.id:
        raise InputError(f"{where}: its id must be a string that is not empty")
    if not document.text.strip():
        raise InputError(f"{where}: it has no text; leave it out")
    if isinstance(document.access, str) or not all(isinstance(g, str) for g in document.access):
        raise InputError(f"{where}: access must be a list of group names, got {document.access!r}")
    try:
        metadata = json.dumps(dict(document.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: its metadata is not JSON: {error}") from None
    for text in (document.id, document.title, document.text, metadata, *document.access):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: not valid Unicode: half of a surrogate pair at position {error.start} "
                f"of {text[:20]!r}...; clean the text"
            ) from None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise IndexDirError(
            f"{path}: cannot be written: {error}; the index was not changed. Make sure that the "
            "disk has room and works, then run the same command again"
        ) from error
