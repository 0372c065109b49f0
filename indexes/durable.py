"""Files that survive a crash: written aside, synced, then put in place in one step.

A rename is atomic on POSIX file systems, but it reaches the disk only when the folder that holds
the name is synced too; both are done here, in that order.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragib.errors import IndexDirError

_NEARLY_FULL = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file's content, or a folder's list of names, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync every file and folder below `folder`, then the folder itself."""
    for path in files_below(folder):
        sync(path)
    for path in sorted(folder.rglob("*/"), reverse=True):
        sync(path)
    sync(folder)


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` in one step: after a crash, the old content or the new is there."""
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    sync(path.parent)


def clear(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_space(folder: Path, size: int) -> None:
    """Refuse to start writing `size` bytes that the disk has no room for.

    Writing through a memory map on a full disk kills the process instead of raising, so this is
    asked before.

    Raises
    ------
    IndexDirError
        Less than `size` bytes are free.
    """
    # A build that came to nothing has removed its folder by the time this is asked.
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise IndexDirError(_full(folder, f"{size:,} bytes are needed and {free:,} are free"))


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn the system's errors while writing below `folder` into an `IndexDirError`."""
    try:
        yield
    except OSError as error:
        # NumPy reports a short write as an OSError without a number.
        if error.errno in _FULL or "requested and" in str(error):
            raise IndexDirError(_full(folder, str(error.strerror or error))) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
            where = error.filename or folder
            raise IndexDirError(f"{where}: {error.strerror}; the index was not changed") from error
        raise
    except RuntimeError:  # faiss does not say why it could not write
        require_space(folder, _NEARLY_FULL)
        raise


def _full(folder: Path, detail: str) -> str:
    return (
        f"{folder}: the disk is full ({detail}); the index was not changed. "
        "Free some space and run the same command again: finished work is used again"
    )
