"""A full or broken disk: one clear error, and the index is what it was."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ragib.config import ChunkConfig, IndexConfig
from ragib.errors import IndexDirError
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))


def corpus(start: int = 0, stop: int = 10) -> list[Document]:
    return [Document(f"d{i}", f"Poem {i} of the king. Verse {i}.") for i in range(start, stop)]


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "idx"
    Index.build(corpus(), path, CONFIG).delete(["d3"])
    return path


def unchanged(path: Path) -> bool:
    index = Index.open(path, verify=True)
    return verify(path) == [] and sorted({p.doc_id for p in index.passages()}) == [
        f"d{i}" for i in range(10) if i != 3
    ]


CHANGES = [
    lambda path: Index.open(path).add(corpus(5, 20)),
    lambda path: Index.open(path).delete(["d1"]),
    lambda path: Index.open(path).compact(),
    lambda path: Index.build(corpus(0, 2), path, CONFIG, overwrite=True),
]


@pytest.mark.parametrize("change", CHANGES, ids=["add", "delete", "compact", "overwrite"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_every_sync_may_fail(path, monkeypatch, change, code):
    """Lost writes are often first reported by fsync; none of its calls may be ignored."""
    real, calls, failing = os.fsync, 0, 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    copy = path.with_name("copy")
    shutil.copytree(path, copy)
    change(copy)
    total = calls
    assert total >= 4
    for nth in {1, total // 2, total - 2}:
        calls, failing = 0, nth
        with pytest.raises(IndexDirError, match="not changed"):
            change(path)
        assert unchanged(path)
    failing = 0
    change(path)
    assert verify(path) == []


@pytest.mark.parametrize("change", [CHANGES[0], CHANGES[3]], ids=["add", "overwrite"])
def test_files_that_may_not_grow(path, change):
    """The system's limit on file sizes stops every way of writing, SQLite's and NumPy's too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 100, 5000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(IndexDirError, match="not changed"):
                change(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert unchanged(path)
    change(path)
    assert verify(path) == []


def test_short_writes_of_arrays_are_a_full_disk(path, monkeypatch):
    def save(*_: object) -> None:
        raise OSError("1000 requested and 17 written")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(IndexDirError, match="the disk is full"):
        CHANGES[0](path)
    monkeypatch.undo()
    assert unchanged(path)


def test_an_engine_that_fails_on_a_full_disk(path, monkeypatch):
    def merge(*_: object) -> None:
        raise RuntimeError("could not write")

    monkeypatch.setattr("ragib.indexes.sparse.SparseEngine.merge", merge)
    with pytest.raises(RuntimeError, match="could not write"):
        CHANGES[0](path)
    usage = shutil.disk_usage(path)._replace(free=1000)
    monkeypatch.setattr("ragib.indexes.build.require_space", lambda *_: None)
    monkeypatch.setattr("ragib.indexes.write.check_staged", lambda *_: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(IndexDirError, match="the disk is full"):
        CHANGES[0](path)
    assert unchanged(path)


SMALL_DISK = """
    import pathlib, shutil, subprocess, sys
    from ragib.config import IndexConfig
    from ragib.errors import IndexDirError
    from ragib.indexes.index import Index
    from ragib.indexes.verify import verify
    from ragib.types import Document

    root = pathlib.Path(sys.argv[1])
    config = IndexConfig(kinds=("sparse",))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root], check=True)
    documents = [Document(f"d{i}", f"Poem {i} of word{i * i}. " * 20) for i in range(200)]
    path, ballast = root / "idx", root / "ballast"
    for free in range(40, 400, 20):
        index = Index.build(documents[:10], path, config, overwrite=True)
        before = list(index.passages())
        room = shutil.disk_usage(root).free
        ballast.write_bytes(bytes(max(room - free * 1024, 0)))
        try:
            index.add(documents)
            print("enough")
        except IndexDirError as error:
            print(error)
            assert list(Index.open(path).passages()) == before
        assert verify(path) == []
        ballast.unlink()
        assert len(index.add(documents)) == len(documents)
    print("done")
"""


def test_a_really_full_disk(tmp_path):
    """A small disk of our own, where the system allows to mount one."""
    namespace = ["unshare", "--user", "--mount", "--map-root-user"]
    probe = [*namespace, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this system does not let a test mount a file system")
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(textwrap.dedent(SMALL_DISK))
    done = subprocess.run(
        [*namespace, sys.executable, str(script), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "done" and "enough" in lines
    errors = [line for line in lines[:-1] if line != "enough"]
    assert len(errors) >= 5 and all("the same command" in line for line in errors)
