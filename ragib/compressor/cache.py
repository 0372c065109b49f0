"""Files that are costly to make: made once, kept in the user's cache, checked when they are read.

The cache is the folder `RAGIB_CACHE`; without that, `ragib` in `XDG_CACHE_HOME` or `~/.cache` (XDG
base directories, version 0.8). Whatever lies in it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ragib.errors import InputError


def cache_folder() -> Path:
    """Return where made files are kept; it need not exist.

    Raises
    ------
    InputError
        This user has no home folder, and no variable names another.
    """
    if own := os.environ.get("RAGIB_CACHE", ""):
        return Path(own).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if shared.is_absolute():
        return shared / "ragib"
    try:
        return Path.home() / ".cache" / "ragib"
    except RuntimeError:
        raise InputError(
            "there is no home folder to keep a cache in; set RAGIB_CACHE to a folder"
        ) from None


def cached(name: str, make: Callable[[], bytes]) -> bytes:
    """Return the content of a file of the cache; make it if it is missing or damaged.

    Its SHA-256 is kept beside it, in `NAME.sha256`. Processes that make the same file at the same
    time do not disturb each other.

    Parameters
    ----------
    name
        Name of the file; all that its content depends on has to be told by it.
    make
        Makes the content.

    Raises
    ------
    InputError
        The cache cannot be written to; this is found out before anything is made.
    """
    path = cache_folder() / name
    digest = path.with_name(f"{name}.sha256")
    with suppress(OSError):
        data = path.read_bytes()
        if digest.read_bytes().strip() == _sha256(data):
            return data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{name[:16]}-", suffix=".part", dir=path.parent) as aside:
            data = make()
            for target, content in ((path, data), (digest, _sha256(data) + b"\n")):
                part = Path(aside) / target.name
                part.write_bytes(content)
                part.replace(target)
    except OSError as error:
        raise InputError(
            f"{path.parent}: the cache cannot be written to: {error.strerror or error}; "
            "set RAGIB_CACHE to another folder"
        ) from None
    return data


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
