"""Results of the stages of a run, kept under the hash of all that decides them.

One SQLite file: what is put in at once is there whole or not at all, so a run that is killed goes
on from its last batch, and a run with one changed key finds again all that the key does not reach.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragib.errors import InputError, RagibError

NAME = "stages.sqlite"

_AT_ONCE = 500
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def key_of(*parts: Any) -> str:  # noqa: ANN401
    """Return the SHA-256 of JSON values, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Cache:
    """JSON values by stage and key.

    Parameters
    ----------
    folder
        Where the file lies; made if need be.

    Raises
    ------
    InputError
        The file cannot be opened, or it is damaged; also raised by `get` and `put`.
    RagibError
        The disk is full; also raised by `put`.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(self._path)
            with self._file:
                self._file.execute(
                    "CREATE TABLE IF NOT EXISTS results "
                    "(stage TEXT, key TEXT, value TEXT, PRIMARY KEY (stage, key))"
                )

    def get(self, stage: str, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of those keys that there are."""
        found: dict[str, Any] = {}
        with self._explained():
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                rows = self._file.execute(
                    f"SELECT key, value FROM results WHERE stage = ? AND key IN ({marks})",
                    (stage, *some),
                )
                found.update((key, json.loads(value)) for key, value in rows)
        return found

    def put(self, stage: str, values: Mapping[str, Any]) -> None:
        """Keep values: all of them, or none if that fails."""
        rows = [(stage, key, json.dumps(value, allow_nan=False)) for key, value in values.items()]
        with self._explained(), self._file:
            self._file.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from None
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise RagibError(
                    f"{self._path}: the disk is full; all that was finished is kept: free some "
                    "space and run the same command again"
                ) from None
            if code in _DAMAGED:
                raise InputError(
                    f"{self._path}: is damaged ({error}); delete it, and what it held is computed "
                    "again"
                ) from None
            raise InputError(f"{self._path}: cannot be used: {error}") from None
