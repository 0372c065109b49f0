"""One generation, opened for reading; it stays as it is until it is closed."""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind
from ragib.errors import IndexCorruptError, IndexDirError, InputError, RagibError
from ragib.indexes.base import Engine, Mask, Queries, Searcher, TopK
from ragib.indexes.durable import sha256_of
from ragib.indexes.engines import Projection, make_engine
from ragib.indexes.filters import Where, compile_where
from ragib.indexes.manifest import FileRecord, describe
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.store import check_files, pin, read_current
from ragib.types import PUBLIC, Passage

_MASKS = 16
"""Filters whose rows are remembered."""


class Snapshot:
    """The passages and searchers of the generation that is current now.

    Parameters
    ----------
    root
        The index directory.
    verify
        Hash every file first. Sizes, small files and structures of faiss are always checked.

    Raises
    ------
    IndexDirError
        The directory is not an index this version can read.
    IndexCorruptError
        A file is missing or is not what the manifest says.
    """

    def __init__(self, root: Path, *, verify: bool = False) -> None:
        self.root = root
        self.name = str(root)
        self._current = read_current(root)  # at worst of a generation before the one pinned now
        self.manifest, descriptor = pin(root)
        self.close = weakref.finalize(self, os.close, descriptor)
        if (problem := self._problem(whole=verify)) is not None:
            raise IndexCorruptError(problem)
        self.folders = [root / "segments" / segment.id for segment in self.manifest.segments]
        self.passages = [PassageReader(folder / NAME) for folder in self.folders]
        sizes = [segment.passages for segment in self.manifest.segments]
        self.offsets: NDArray[np.int64] = np.cumsum([0, *sizes], dtype=np.int64)
        self.alive: Mask = np.ones(self.manifest.rows, np.bool_)
        self.alive[self.tombstones] = False
        self._lock = threading.RLock()
        self._engines: dict[Kind, Engine] = {}
        self._searchers: dict[Kind, Searcher] = {}
        self._masks: dict[tuple[str, frozenset[str]], Mask] = {}

    def _problem(self, *, whole: bool) -> str | None:
        problems = list(check_files(self.root, self.manifest, whole=whole))
        if not problems:
            return None
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return (
            f"{problems[0]}{more}; see `ragib verify {self.root}`, restore the index from a copy "
            "or build it again"
        )

    @cached_property
    def damage(self) -> str | None:
        """What is wrong with the files, all of which are hashed for this, once; or `None`."""
        return self._problem(whole=True)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Tell whether it is a damaged file that what is done inside stumbles over.

        Large files are not hashed when an index is opened, and what is wrong in them may come to
        light anywhere. The first error that is not one of ragib's has all of them hashed; if they
        are what was written, it is raised as it is.

        Raises
        ------
        IndexCorruptError
            A file is not what the manifest says.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, RagibError) or self.damage is None:
                raise
            raise IndexCorruptError(self.damage) from error

    @cached_property
    def tombstones(self) -> NDArray[np.int64]:
        """The deleted rows, ascending: `(n,)` int64."""
        record = self.manifest.tombstones
        rows = np.zeros(0, np.int64) if record is None else self._load(record)
        if rows.dtype != np.int64 or rows.ndim != 1 or (np.diff(rows) <= 0).any():
            raise IndexCorruptError(f"{self.root}: the tombstones are not ascending row numbers")
        if len(rows) and not 0 <= rows[0] <= rows[-1] < self.manifest.rows:
            raise IndexCorruptError(f"{self.root}: the tombstones name rows that do not exist")
        return rows

    @cached_property
    def projection(self) -> Projection | None:
        """The projection of token vectors, if the index has one."""
        record = self.manifest.projection
        return None if record is None else self._load(record)

    def _load(self, record: FileRecord) -> NDArray[Any]:
        path = self.root / record.path
        if sha256_of(path) != record.sha256:
            raise IndexCorruptError(f"{path}: its SHA-256 is not what the manifest says")
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        return array

    def engine(self, kind: Kind) -> Engine:
        """Return the engine of one kind, as the index is configured.

        Raises
        ------
        IndexDirError
            It would read or write another form of files than those in the index.
        """
        with self._lock:
            if kind not in self._engines:
                engine = make_engine(kind, self.manifest.config, self.projection)
                recorded, now = self.manifest.engines[kind], engine.describe()
                if json.dumps(recorded, sort_keys=True) != json.dumps(now, sort_keys=True):
                    raise IndexDirError(
                        f"{self.root}: its {kind} index was built as {recorded}, but this version "
                        f"of ragib makes {now}; build the index again"
                    )
                self._engines[kind] = engine
            return self._engines[kind]

    def searcher(self, kind: Kind) -> Searcher:
        """Return one kind of index, opened over all segments; opened when first asked for."""
        with self._lock:
            if kind not in self._searchers:
                folders = [folder / kind for folder in self.folders]
                self._searchers[kind] = self.engine(kind).open(folders, self.alive)
            return self._searchers[kind]

    def needs(self, kinds: Sequence[Kind]) -> tuple[bool, bool]:
        """Say whether a search of these kinds needs vectors of the questions, and of their tokens.

        Raises
        ------
        IndexDirError
            As `engine`.
        """
        engines = [self.engine(kind) for kind in kinds]
        return any(e.needs_dense for e in engines), any(e.needs_tokens for e in engines)

    def find(
        self, kinds: Sequence[Kind], queries: Queries, k: int, allowed: Mask | None
    ) -> dict[Kind, TopK]:
        """Return the best `k` rows of each query in each kind; see `Searcher.search`."""
        return {kind: self.searcher(kind).search(queries, k, allowed) for kind in kinds}

    def nothing(self, allowed: Mask | None) -> bool:
        """Say whether no row may be returned."""
        return not (self.alive if allowed is None else allowed).any()

    def allowed(self, where: Where | None, allow: Iterable[str]) -> Mask | None:
        """Flag the live rows a search may return; `None` stands for all of them.

        Raises
        ------
        InputError
            The filter or the groups cannot be used.
        """
        groups = frozenset(() if isinstance(allow, str) else allow)
        if isinstance(allow, str) or not all(isinstance(group, str) for group in groups):
            raise InputError(f"allow: expected a list of group names, got {allow!r}")
        if where is None and not self.manifest.restricted and PUBLIC in groups:
            return None
        if where is not None:
            compile_where(where)
        try:
            key = json.dumps(where, sort_keys=True, default=list), groups
        except TypeError as error:
            raise InputError(f"where: {error}") from None
        with self._lock:
            if key not in self._masks:
                if len(self._masks) == _MASKS:
                    del self._masks[next(iter(self._masks))]
                self._masks[key] = self._mask(*key)
            return self._masks[key]

    def _mask(self, where: str, groups: frozenset[str]) -> Mask:
        condition = json.loads(where)
        matches = None if condition is None else compile_where(condition)
        flags = [np.zeros(0, np.bool_)]
        for reader in self.passages:
            table = reader.documents
            lists = [number for number, names in reader.access.items() if groups & set(names)]
            visible = np.isin(table.access, lists)
            if matches is not None:
                met = [matches(json.loads(metadata)) for metadata in reader.metadata()]
                visible &= np.array(met, np.bool_)
            flags.append(np.repeat(visible, table.count))
        mask: Mask = np.concatenate(flags) & self.alive
        mask.flags.writeable = False
        return mask

    def alive_by_segment(self) -> list[Mask]:
        """Return `alive`, cut into segments."""
        return np.split(self.alive, self.offsets[1:-1])

    def live(self) -> Iterator[Passage]:
        """Read all live passages, in row order."""
        with self.explained():
            for reader, alive in zip(self.passages, self.alive_by_segment(), strict=True):
                yield from reader.live(alive)

    def find_documents(self, ids: Sequence[str]) -> dict[str, range]:
        """Return the rows of those documents that are in the index."""
        found: dict[str, range] = {}
        for offset, reader in zip(self.offsets.tolist(), self.passages, strict=False):
            for id_, (first, count) in reader.find_documents(ids).items():
                if self.alive[offset + first]:
                    found[id_] = range(offset + first, offset + first + count)
        return found

    def find_passage(self, id_: str) -> Passage | None:
        """Return the passage with this id."""
        for offset, reader in zip(self.offsets.tolist(), self.passages, strict=False):
            found = reader.find_passage(id_)
            if found is not None and self.alive[offset + found[0]]:
                return found[1]
        return None

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the generation, as JSON values."""
        return {"path": self.name, **describe(self.manifest)}

    def is_current(self) -> bool:
        """Say whether it is still the generation that is current."""
        return read_current(self.root) == self._current

    def renewed(self) -> Snapshot:
        """Open the generation that is current now."""
        return Snapshot(self.root)

    def rows(self, rows: Iterable[int]) -> dict[int, Passage]:
        """Return the passages of these rows."""
        wanted = np.unique(np.fromiter(rows, np.int64))
        found: dict[int, Passage] = {}
        for start, stop, reader in zip(self.offsets, self.offsets[1:], self.passages, strict=False):
            local = wanted[(wanted >= start) & (wanted < stop)] - start
            found |= {row + int(start): p for row, p in reader.rows(local.tolist()).items()}
        return found
