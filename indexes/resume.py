"""Work that is done once: what an interrupted build has finished, the next one finds.

Finished work lies in `.build/done/STAGE`, in folders named by a digest of everything it depends
on (texts, configuration, encoder, projection), each with a receipt of its files' hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ragib.indexes.durable import clear, files_below, sha256_of
from ragib.indexes.store import BUILD

Spec = Mapping[str, Any]
"""JSON values: everything that decides what comes out of a piece of work."""

_RECEIPT = "receipt.json"


def digest_of(value: Any) -> str:  # noqa: ANN401
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def once(root: Path, stage: str, spec: Spec, work: Callable[[Path], None]) -> Path:
    """Return the folder with the finished work that `spec` describes, doing it if need be.

    `work` writes into the empty folder it is given.
    """
    home = _done(root) / stage / digest_of(spec)
    if _intact(home, spec):
        return home
    clear(home)
    aside = home.with_suffix(".new")
    clear(aside)
    aside.mkdir(parents=True)
    work(aside)
    files = {path.relative_to(aside).as_posix(): sha256_of(path) for path in files_below(aside)}
    (aside / _RECEIPT).write_text(json.dumps({"spec": spec, "files": files}))
    aside.rename(home)
    return home


def sweep(root: Path, stage: str, wanted: Iterable[Spec]) -> None:
    """Remove all finished work of a stage but what these describe."""
    names = {digest_of(spec) for spec in wanted}
    for path in (_done(root) / stage).glob("*"):
        if path.name not in names:
            clear(path)


def anything_done(root: Path) -> bool:
    """Say whether there is finished work that a build could use."""
    return any(_done(root).glob(f"*/*/{_RECEIPT}"))


def _done(root: Path) -> Path:
    return root / BUILD / "done"


def _intact(home: Path, spec: Spec) -> bool:
    """Say whether the files in `home` are those of its receipt; a crash may have torn them."""
    try:
        receipt = json.loads((home / _RECEIPT).read_text())
        return digest_of(receipt["spec"]) == digest_of(spec) and all(
            sha256_of(home / name) == digest for name, digest in receipt["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
