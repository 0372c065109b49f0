"""The one writer of an index: its lock, and the garbage it clears away when it is done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ragib.errors import IndexLockedError
from ragib.indexes.durable import clear, explain_disk_errors
from ragib.indexes.manifest import from_bytes
from ragib.indexes.store import holds_index, manifest_path, pin


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the writer's lock, and remove what is unused afterwards.

    Errors of the disk become `IndexDirError`.

    Raises
    ------
    IndexLockedError
        Another process, or another index object of this one, is writing.
    """
    with explain_disk_errors(root):
        descriptor = _lock(root)
        try:
            yield
            collect_garbage(root)
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)


def tidy(root: Path) -> None:
    """Remove what is unused, unless another writer is at work, who will do it."""
    with suppress(IndexLockedError), writing(root):
        pass


def _lock(root: Path) -> int:
    path = root / "LOCK"
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise IndexLockedError(
                f"{root}: {holder or 'another process'} is writing to the index; "
                "wait until it has finished"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        # The last holder may have removed an index that came to nothing, and this file with it.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        os.close(descriptor)
    with suppress(OSError):  # on a full disk the lock holds all the same, without a name on it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return descriptor


def collect_garbage(root: Path) -> None:
    """Remove what neither the current generation nor one pinned by a reader refers to."""
    if not holds_index(root):
        return
    current, descriptor = pin(root)
    os.close(descriptor)
    used = {record.path for record in current.files}
    for path in (root / "generations").iterdir():
        if path != manifest_path(root, current.generation):
            used |= _pinned(path)
    kept = {path.split("/")[1] for path in used if path.startswith("segments/")}
    for path in (root / "segments").glob("*"):
        if path.name not in kept:
            clear(path)
    for pattern in ("tombstones/*", "projection-*", "*.new"):
        for path in root.glob(pattern):
            if path.relative_to(root).as_posix() not in used:
                clear(path)


def _pinned(path: Path) -> set[str]:
    """Return the files a reader of this manifest needs; remove the manifest if there is none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return {record.path for record in from_bytes(path.read_bytes(), path).files}
    else:
        path.unlink()
        return set()
    finally:
        os.close(descriptor)
