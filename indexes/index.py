"""The index a user works with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ragib.config import Candidates, IndexConfig, Kind, RetrieverConfig, Using
from ragib.encoders import Encoder
from ragib.errors import IndexDirError, InputError
from ragib.indexes import write
from ragib.indexes.build import Progress
from ragib.indexes.engines import encoder_for
from ragib.indexes.filters import Where
from ragib.indexes.generation import Generation
from ragib.indexes.lock import tidy
from ragib.indexes.search import search_batch
from ragib.indexes.snapshot import Snapshot
from ragib.types import PUBLIC, Document, Hit, Passage

_DEFAULT = IndexConfig()


class Index:
    """An index, opened at its current generation.

    Open one with `Index.open`, make one with `Index.build`;
    `ragib.indexes.qdrant.generation.open_index` opens one that was pushed to a server, which
    can only be read. What is read stays at the generation that was current then, whatever other
    processes write, until `refresh`. Searching is safe from several threads.
    """

    def __init__(self, snapshot: Generation, encoder: Encoder | None) -> None:
        self._snapshot = snapshot
        self._encoder = encoder
        self._closed = False

    @classmethod
    def build(
        cls,
        documents: Iterable[Document],
        out: str | Path,
        config: IndexConfig = _DEFAULT,
        *,
        encoder: Encoder | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Index:
        """Index documents and open the result.

        A build that was interrupted is resumed by the same call. An index that is there already
        stays in use until the new one is complete.

        Parameters
        ----------
        documents
            Read once, one at a time.
        out
            The directory: new, empty, or an index.
        config
            What to build.
        encoder
            Used in place of loading the one `config` names.
        overwrite
            Replace an index that is there.
        progress
            Called with (stage, done, total).

        Raises
        ------
        InputError
            A document cannot be indexed, or there is none.
        IndexDirError
            The directory cannot be used, or the disk is full.
        IndexLockedError
            Another process is writing to it.
        """
        root = Path(out)
        write.build_index(
            root,
            documents,
            config,
            encoder=encoder,
            overwrite=overwrite,
            progress=progress or _silent,
        )
        return cls.open(root, encoder=encoder)

    @classmethod
    def open(
        cls, path: str | Path, *, verify: bool = False, encoder: Encoder | None = None
    ) -> Index:
        """Open an index.

        Parameters
        ----------
        path
            The index directory.
        verify
            Hash every file first; without it, sizes and small files are checked.
        encoder
            Used in place of loading the one the index names, when a search needs it.

        Raises
        ------
        IndexDirError
            There is no index, or it was written by a newer version.
        IndexCorruptError
            A file is missing or damaged.
        """
        return cls(Snapshot(Path(path), verify=verify), encoder)

    def add(self, documents: Iterable[Document], progress: Progress | None = None) -> Index:
        """Add documents; those whose id is in the index replace the ones there.

        Returns
        -------
        Index
            This index, refreshed.

        Raises
        ------
        InputError, IndexDirError, IndexLockedError
            As in `build`; the index is as it was.
        """
        write.add_documents(
            self.path,
            documents,
            encoder=self.encoder if self._needs_encoder() else None,
            progress=progress or _silent,
        )
        return self._renewed()

    def delete(self, ids: Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete documents by id and return how many there were.

        Raises
        ------
        InputError
            Some ids are not in the index and not `missing_ok`; nothing was deleted.
        IndexLockedError
            Another process is writing.
        """
        if isinstance(ids, str):
            raise InputError("delete: expected a list of document ids, got one string")
        deleted = write.delete_documents(self.path, list(ids), missing_ok=missing_ok)
        self._renewed()
        return deleted

    def compact(self, progress: Progress | None = None) -> Index:
        """Merge all segments into one and drop what was deleted; returns this index, refreshed."""
        write.compact_index(self.path, progress or _silent)
        return self._renewed()

    def refresh(self) -> Index:
        """Move on to the generation that is current now."""
        self._snapshot = self._snapshot.renewed()
        return self

    def follow(self) -> bool:
        """Move on if another generation is current by now, and say whether one was.

        Whoever is searching meanwhile stays at the generation that the search began with.

        Raises
        ------
        IndexDirError, StoreError
            The new generation cannot be opened, or has another encoder or other kinds, so that the
            index has to be opened anew. It stays where it is.
        """
        held = self._open()
        if held.is_current():
            return False
        new = held.renewed()
        before, after = (m.manifest for m in (held, new))
        if (before.encoder, before.config.kinds) != (after.encoder, after.config.kinds):
            raise IndexDirError(
                f"{held.name}: generation {after.generation} has another encoder or other kinds "
                f"than generation {before.generation}, which is open; open the index anew"
            )
        self._snapshot = new
        return True

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        using: Using = "hybrid",
        where: Where | None = None,
        allow: Iterable[str] = (PUBLIC,),
        depth: int = 100,
        candidates: Candidates = "all",
        fusion: Literal["convex", "rrf"] = "convex",
        weights: Mapping[Kind, float] | None = None,
    ) -> list[Hit]:
        """Return the `k` best passages for a question, best first; see `search_batch`."""
        return self.search_batch(
            [question],
            k,
            using=using,
            where=where,
            allow=allow,
            depth=depth,
            candidates=candidates,
            fusion=fusion,
            weights=weights,
        )[0]

    def search_batch(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        using: Using = "hybrid",
        where: Where | None = None,
        allow: Iterable[str] = (PUBLIC,),
        depth: int = 100,
        candidates: Candidates = "all",
        fusion: Literal["convex", "rrf"] = "convex",
        weights: Mapping[Kind, float] | None = None,
    ) -> list[list[Hit]]:
        """Return the `k` best passages for each question, best first.

        Parameters
        ----------
        questions
            None may be empty.
        k
            Hits a question; fewer if fewer match.
        using
            One kind of index, or `hybrid`: all the index has, fused.
        where
            Metadata filter (see `ragib.indexes.filters`); `None` is no filter, an empty one
            matches nothing.
        allow
            The asker's groups: a document is visible if it names one of them.
        depth
            Hits taken from each kind before fusion, and as candidates.
        candidates
            What multi-vector search scores: `all` passages, or what the `dense` or `sparse` index
            or `both` find.
        fusion
            `convex` sums normalised scores, `rrf` reciprocal ranks.
        weights
            convex: weight of each kind; equal if not given.

        Raises
        ------
        InputError
            An argument cannot be used; the message names it.
        IndexCorruptError
            A file of the index turned out to be damaged.
        """
        try:
            config = RetrieverConfig(
                using=using,
                k=k,
                depth=depth,
                candidates=candidates,
                fusion=fusion,
                weights=weights or {},
            )
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(f"{key}: {first['msg']} (got {first['input']!r})") from None
        return self.retrieve(questions, config, where=where, allow=allow)

    def retrieve(
        self,
        questions: Sequence[str],
        config: RetrieverConfig,
        *,
        where: Where | None = None,
        allow: Iterable[str] = (PUBLIC,),
    ) -> list[list[Hit]]:
        """Search as a retriever's configuration says; otherwise as `search_batch`."""
        snapshot = self._open()
        with snapshot.explained():
            return search_batch(snapshot, lambda: self.encoder, questions, config, where, allow)

    def passage(self, id: str) -> Passage:
        """Return the passage with this id, or raise `InputError` if there is none."""
        snapshot = self._open()
        with snapshot.explained():
            passage = snapshot.find_passage(id)
        if passage is None:
            raise InputError(f"{snapshot.name}: there is no passage {id!r}")
        return passage

    def passages(self) -> Iterator[Passage]:
        """Read all passages, in the order in which they were added."""
        return self._open().live()

    @property
    def encoder(self) -> Encoder:
        """The encoder of the index, loaded when first needed.

        Raises
        ------
        InputError
            The index has no kind that uses one.
        IndexDirError
            It is not the one the index was built with.
        """
        manifest = self._open().manifest
        encoder = encoder_for(manifest.config, self._encoder, manifest.encoder)
        if encoder is None:
            raise InputError(f"{self._snapshot.name}: a sparse index has no encoder")
        self._encoder = encoder
        return encoder

    @property
    def path(self) -> Path:
        """The index directory; raises `StoreError` for an index on a server."""
        return self._snapshot.root

    @property
    def is_local(self) -> bool:
        """Whether it is an index directory, not one on a server."""
        return isinstance(self._snapshot, Snapshot)

    @property
    def config(self) -> IndexConfig:
        """The configuration the index was built with."""
        return self._open().manifest.config

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the index, as JSON values."""
        return self._open().info()

    def close(self) -> None:
        """Let go of the generation; the index cannot be used afterwards."""
        self._closed = True
        self._snapshot.close()

    def __len__(self) -> int:
        """Return the number of passages that can be found."""
        return self._open().manifest.passages

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    def __repr__(self) -> str:
        manifest = self._snapshot.manifest
        return f"Index({self._snapshot.name!r}, {manifest.passages:,} passages)"

    def _open(self) -> Generation:
        if self._closed:
            raise IndexDirError(f"{self._snapshot.name}: the index has been closed")
        return self._snapshot

    def _renewed(self) -> Index:
        """Refresh, and remove the generation that nobody but this index was still reading."""
        self.refresh()
        tidy(self.path)
        return self

    def _needs_encoder(self) -> bool:
        return self._open().manifest.encoder is not None


def _silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""
