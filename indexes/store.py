"""The index directory: one writer, any number of readers, and a switch that is never torn.

::

    CURRENT                   number of the current generation, SHA-256 of its manifest
    LOCK                      held by the one writer
    generations/000003.json   manifests
    segments/000003/          passages.sqlite, dense/, sparse/, multivector/; never changed
    tombstones/000003.npy     deleted rows
    projection-<hash>.npy     projection of token vectors
    .build/                   unfinished work of the writer

A generation becomes current when `CURRENT` is replaced, which the file system does in one step.
A reader pins its generation with a shared lock on the manifest; what no manifest that is current
or pinned refers to is removed by the next writer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ragib.errors import IndexCorruptError, IndexDirError, RagibError
from ragib.indexes.durable import explain_disk_errors, replace_file, sha256_of
from ragib.indexes.manifest import Manifest, from_bytes, to_bytes

SMALL = 1 << 20
"""Files up to this many bytes are hashed whenever an index is opened."""

BUILD = ".build"
_CURRENT = re.compile(rb"([0-9]{6,}) ([0-9a-f]{64})\n")
_ATTEMPTS = 100
_OURS = frozenset((BUILD, "CURRENT", "generations"))


@dataclass(frozen=True, slots=True)
class Current:
    """What `CURRENT` says: the generation's number and the SHA-256 of its manifest."""

    generation: int
    sha256: str


def manifest_path(root: Path, generation: int) -> Path:
    """Return where the manifest of a generation is."""
    return root / "generations" / f"{generation:06d}.json"


def read_current(root: Path) -> Current:
    """Read which generation is current.

    Raises
    ------
    IndexDirError
        `root` is not an index, or its first build has not finished.
    IndexCorruptError
        `CURRENT` is damaged or gone.
    """
    path = root / "CURRENT"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _no_index(root) from None
    except OSError as error:
        raise IndexDirError(f"{path}: {error.strerror}") from None
    match = _CURRENT.fullmatch(data)
    if match is None:
        raise IndexCorruptError(
            f"{path}: damaged; restore it from a copy, or build the index again"
        )
    return Current(int(match[1]), match[2].decode())


def _no_index(root: Path) -> IndexDirError:
    if not root.exists():
        return IndexDirError(f"{root}: no such directory; build an index with `ragib index`")
    if (root / BUILD).exists():
        return IndexDirError(
            f"{root}: its first build has not finished; run the same `ragib index` command again"
        )
    if any((root / "generations").glob("*.json")):
        return IndexCorruptError(f"{root / 'CURRENT'}: missing; restore it from a copy")
    return IndexDirError(f"{root}: not an index (it has no file CURRENT)")


def holds_index(root: Path) -> bool:
    """Say whether there is an index, sound or damaged; an unfinished first build is none."""
    try:
        read_current(root)
    except IndexCorruptError:
        return True
    except IndexDirError:  # what cannot be read is there all the same
        return (root / "CURRENT").exists()
    return True


def pin(root: Path) -> tuple[Manifest, int]:
    """Read the current manifest and keep its files from being removed.

    Returns
    -------
    tuple
        The manifest and an open file descriptor; the generation stays until that is closed.
    """
    for _ in range(_ATTEMPTS):
        current = read_current(root)
        path = manifest_path(root, current.generation)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if read_current(root) == current:
                raise IndexCorruptError(f"{path}: missing; restore it from a copy") from None
            continue
        except OSError as error:
            raise IndexDirError(f"{path}: {error.strerror}") from None
        try:
            with suppress(OSError):  # a file system without locks has no safe writers either
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            # A writer removes a generation only when it is no longer current, so if it still is
            # now that we hold the lock, nobody will.
            if read_current(root) == current:
                return _read_manifest(descriptor, path, current), descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise IndexDirError(f"{root}: it changes faster than it can be opened; try again")


def _read_manifest(descriptor: int, path: Path, current: Current) -> Manifest:
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read()
    except OSError as error:
        raise IndexDirError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != current.sha256:
        raise IndexCorruptError(f"{path}: its SHA-256 is not what CURRENT says")
    manifest = from_bytes(data, path)
    if manifest.generation != current.generation:
        raise IndexCorruptError(f"{path}: it is of generation {manifest.generation}")
    return manifest


def check_files(root: Path, manifest: Manifest, *, whole: bool) -> Iterator[str]:
    """Compare the files of a generation with its manifest and yield what is wrong.

    Sizes are always compared, hashes only of small files unless `whole`, and of the structures of
    faiss, which reads and writes outside its memory if they are not what it wrote.
    """
    for record in manifest.files:
        path = root / record.path
        try:
            size = path.stat().st_size
            if size != record.bytes:
                yield f"{path}: it has {size:,} bytes, not {record.bytes:,}"
            elif (whole or size <= SMALL or path.suffix == ".faiss") and (
                sha256_of(path) != record.sha256
            ):
                yield f"{path}: its SHA-256 is not what the manifest says"
        except OSError as error:
            yield f"{path}: {(error.strerror or str(error)).lower()}"


def claim(root: Path) -> None:
    """Make `root` ready for a build.

    Raises
    ------
    IndexDirError
        It is a file, or a folder that holds something else than an index.
    """
    if root.exists() and not root.is_dir():
        raise IndexDirError(f"{root}: it is a file; name a directory for the index")
    if root.is_dir():
        names = {path.name for path in root.iterdir()}
        if names - {"LOCK"} and not names & _OURS:
            raise IndexDirError(f"{root}: the directory is not empty and holds no index")
    with explain_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)


def next_generation(root: Path) -> int:
    """Return a generation number that was never used; even beside a damaged index."""
    used = [int(path.stem) for path in (root / "generations").glob("[0-9]*.json")]
    with suppress(RagibError):
        used.append(read_current(root).generation)
    return max(used, default=0) + 1


def commit(root: Path, manifest: Manifest) -> None:
    """Make a generation whose files are all synced the current one."""
    data = to_bytes(manifest)
    path = manifest_path(root, manifest.generation)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, data)
    digest = hashlib.sha256(data).hexdigest()
    replace_file(root / "CURRENT", f"{manifest.generation:06d} {digest}\n".encode())
