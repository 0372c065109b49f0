"""Work that is done once: what an interrupted build has finished, the next one finds.

Finished work lies in `.build/done/STAGE`, in folders named by a digest of everything it depends
on (texts, configuration, encoder, projection), each with a receipt of its files' hashes. It is
written aside, in a folder of the writer's own, and put in place in one step: whoever else does
the same work at the same time, even a worker that was given up, does no harm.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ragib.indexes.durable import clear, files_below, sha256_of
from ragib.indexes.store import BUILD

Spec = Mapping[str, Any]
"""JSON values: everything that decides what comes out of a piece of work."""

_RECEIPT = "receipt.json"
_ASIDE = ".new"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Finished work: the folder with its files, and the SHA-256 of their names and hashes."""

    folder: Path
    sha256: str


def digest_of(value: Any) -> str:  # noqa: ANN401
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def once(root: Path, stage: str, spec: Spec, work: Callable[[Path], None]) -> Receipt:
    """Return the finished work that `spec` describes, doing it if need be.

    `work` writes into the empty folder it is given.
    """
    found = finished(root, stage, spec)
    if found is not None:
        return found
    home = _home(root, stage, spec)
    home.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(_ASIDE, home.name, home.parent))
    try:
        work(aside)
        files = _hashes(aside)
        (aside / _RECEIPT).write_text(json.dumps({"spec": spec, "files": files}))
        while not _published(aside, home) and finished(root, stage, spec) is None:
            _put_away(home)
    finally:
        clear(aside)
    return Receipt(home, digest_of(files))


def finished(root: Path, stage: str, spec: Spec) -> Receipt | None:
    """Return the finished work that `spec` describes, if it is there and whole.

    Its files must be those of its receipt: a crash may have torn them.
    """
    home = _home(root, stage, spec)
    try:
        receipt = json.loads((home / _RECEIPT).read_text())
        files = _hashes(home)
        if digest_of(receipt["spec"]) == digest_of(spec) and receipt["files"] == files:
            return Receipt(home, digest_of(files))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def sweep(root: Path, stage: str, wanted: Iterable[Spec]) -> None:
    """Remove all finished work of a stage but what these describe."""
    names = {digest_of(spec) for spec in wanted}
    for path in (_done(root) / stage).glob("*"):
        if path.name not in names:
            clear(path)


def anything_done(root: Path) -> bool:
    """Say whether there is finished work that a build could use."""
    return any(path.parent.suffix != _ASIDE for path in _done(root).glob(f"*/*/{_RECEIPT}"))


def _published(aside: Path, home: Path) -> bool:
    """Put finished work in place, unless there is something already."""
    try:
        aside.rename(home)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _put_away(home: Path) -> None:
    """Remove torn work in one step, so that nobody removes what another has just put there."""
    torn = Path(mkdtemp(_ASIDE, home.name, home.parent))
    with suppress(FileNotFoundError):
        home.rename(torn / "torn")
    clear(torn)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in files_below(folder)
        if path != folder / _RECEIPT
    }


def _done(root: Path) -> Path:
    return root / BUILD / "done"


def _home(root: Path, stage: str, spec: Spec) -> Path:
    return _done(root) / stage / digest_of(spec)
