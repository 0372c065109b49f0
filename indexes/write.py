"""The four ways to change an index; each makes one new generation, or leaves all as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import IndexConfig
from ragib.encoders import Encoder
from ragib.errors import IndexCorruptError, IndexDirError, InputError
from ragib.indexes.build import (
    Progress,
    Staged,
    Stopwatch,
    encode_shards,
    merge_shards,
    prepare_projection,
    stage_passages,
)
from ragib.indexes.compact import compact_segments
from ragib.indexes.durable import clear, sync
from ragib.indexes.engines import encoder_for
from ragib.indexes.lock import writing
from ragib.indexes.manifest import (
    FORMAT,
    EncoderRecord,
    FileRecord,
    Manifest,
    SegmentRecord,
    record_file,
)
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.plan import check_staged
from ragib.indexes.resume import anything_done
from ragib.indexes.shards import Recipe
from ragib.indexes.snapshot import Snapshot
from ragib.indexes.store import BUILD, claim, commit, holds_index, next_generation
from ragib.types import Document


def build_index(
    root: Path,
    documents: Iterable[Document],
    config: IndexConfig,
    *,
    encoder: Encoder | None,
    overwrite: bool,
    progress: Progress,
) -> None:
    """Build an index, or replace one; see `Index.build`."""
    fresh = not root.exists()
    claim(root)
    with writing(root), _forgotten_if_vain(root, fresh):
        if not overwrite and holds_index(root):
            raise IndexDirError(
                f"{root}: there is an index already; add to it, or overwrite it (--overwrite)"
            )
        encoder, watch = encoder_for(config, encoder), Stopwatch()
        recipe = Recipe(config, encoder, None)
        with watch("chunk"):
            staged = stage_passages(root, documents, recipe, progress)
        if not staged.passages:
            raise InputError(f"{root}: there are no documents to index")
        check_staged(root, staged, recipe)
        record, kind = None, None
        with watch("project"):
            prepared = prepare_projection(root, staged, config, encoder, progress)
            if prepared is not None:
                path, kind = prepared
                record = _place_projection(root, path)
                recipe = Recipe(config, encoder, np.load(path, allow_pickle=False))
        generation = next_generation(root)
        segment = _segment(root, generation, staged, recipe, record, watch, progress)
        manifest = Manifest(
            format=FORMAT,
            generation=generation,
            ragib=version("ragib"),
            created=_now(),
            config=config,
            encoder=encoder and EncoderRecord(name=encoder.name, revision=encoder.revision),
            engines={kind: engine.describe() for kind, engine in recipe.engines().items()},
            projection=record,
            projection_kind=kind,
            segments=(segment,),
            tombstones=None,
            documents=staged.documents,
            passages=staged.passages,
            seconds=watch.seconds,
        )
        commit(root, manifest)
        clear(root / BUILD)


def add_documents(
    root: Path, documents: Iterable[Document], *, encoder: Encoder | None, progress: Progress
) -> None:
    """Add documents in a new segment and delete older versions; see `Index.add`."""
    with writing(root), _opened(root) as old:
        config = old.manifest.config
        encoder, watch = encoder_for(config, encoder, old.manifest.encoder), Stopwatch()
        for kind in config.kinds:
            old.engine(kind)  # refuses to add what the segments there could not be merged with
        recipe = Recipe(config, encoder, old.projection)
        with watch("chunk"):
            staged = stage_passages(root, documents, recipe, progress)
        if staged.passages:
            check_staged(root, staged, recipe)
            generation = next_generation(root)
            record = old.manifest.projection
            segment = _segment(root, generation, staged, recipe, record, watch, progress)
            reader = PassageReader(root / "segments" / segment.id / NAME)
            replaced = old.find_documents(reader.document_ids())
            reader.close()
            _commit_next(
                root,
                old,
                generation,
                segments=(*old.manifest.segments, segment),
                dead=replaced,
                documents=old.manifest.documents - len(replaced) + staged.documents,
                passages=old.manifest.passages - _rows(replaced) + staged.passages,
                seconds=_sum(old.manifest.seconds, watch.seconds),
            )
        clear(root / BUILD)


def delete_documents(root: Path, ids: Sequence[str], *, missing_ok: bool) -> int:
    """Delete documents and return how many there were; see `Index.delete`."""
    with writing(root), _opened(root) as old:
        found = old.find_documents(ids)
        missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
        if missing and not missing_ok:
            shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise InputError(
                f"{root}: {len(missing)} of these documents are not in the index: {shown}; "
                "nothing was deleted"
            )
        if found:
            _commit_next(
                root,
                old,
                next_generation(root),
                segments=old.manifest.segments,
                dead=found,
                documents=old.manifest.documents - len(found),
                passages=old.manifest.passages - _rows(found),
            )
        return len(found)


def compact_index(root: Path, progress: Progress) -> None:
    """Merge all segments into one without deleted passages; see `Index.compact`.

    Every file is hashed first: what is damaged would get a new hash that says it is sound.
    """
    with writing(root), _opened(root) as old:
        manifest = old.manifest
        if len(manifest.segments) <= 1 and manifest.tombstones is None:
            return
        if old.damage is not None:
            raise IndexCorruptError(old.damage)
        generation, watch = next_generation(root), Stopwatch()
        segments: tuple[SegmentRecord, ...] = ()
        if manifest.passages:
            with watch("compact"):
                segments = (compact_segments(root, generation, old, progress),)
        values = {
            "generation": generation,
            "created": _now(),
            "segments": segments,
            "tombstones": None,
            "seconds": _sum(manifest.seconds, watch.seconds),
        }
        commit(root, manifest.model_copy(update=values))
        with suppress(OSError):  # it may hold finished work of an interrupted command
            (root / BUILD).rmdir()


def _segment(
    root: Path,
    generation: int,
    staged: Staged,
    recipe: Recipe,
    projection: FileRecord | None,
    watch: Stopwatch,
    progress: Progress,
) -> SegmentRecord:
    with watch("encode"):
        shards = encode_shards(root, staged, recipe, projection, progress)
    with watch("merge"):
        return merge_shards(root, f"{generation:06d}", staged, recipe, shards, progress)


def _commit_next(
    root: Path,
    old: Snapshot,
    generation: int,
    *,
    dead: dict[str, range],
    **values: Any,  # noqa: ANN401
) -> None:
    """Commit the successor of `old`, in which the rows of `dead` are deleted too."""
    tombstones = old.manifest.tombstones
    if dead:
        rows = np.fromiter((row for rows in dead.values() for row in rows), np.int64)
        path = root / "tombstones" / f"{generation:06d}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.union1d(old.tombstones, rows))
        sync(path)
        sync(path.parent)
        tombstones = record_file(root, path)
    values |= {"generation": generation, "created": _now(), "tombstones": tombstones}
    commit(root, old.manifest.model_copy(update=values))


def _place_projection(root: Path, path: Path) -> FileRecord:
    record = record_file(root, path)
    home = root / f"projection-{record.sha256[:16]}.npy"
    home.write_bytes(path.read_bytes())
    sync(home)
    sync(root)
    return record.model_copy(update={"path": home.name})


@contextmanager
def _opened(root: Path) -> Iterator[Snapshot]:
    snapshot = Snapshot(root)
    try:
        yield snapshot
    finally:
        snapshot.close()


@contextmanager
def _forgotten_if_vain(root: Path, fresh: bool) -> Iterator[None]:
    """When a first build fails before anything worth resuming, leave nothing of it behind."""
    first = not holds_index(root)
    try:
        yield
    except BaseException:
        if first and not holds_index(root) and not anything_done(root):
            with suppress(OSError):
                for name in (BUILD, "segments", "generations", "LOCK"):
                    clear(root / name)
                if fresh:
                    root.rmdir()
        raise


def _rows(documents: dict[str, range]) -> int:
    return sum(map(len, documents.values()))


def _sum(left: dict[str, float], right: dict[str, float]) -> dict[str, float]:
    return {k: round(left.get(k, 0.0) + right.get(k, 0.0), 3) for k in {**left, **right}}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
