import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ragib.config import IndexConfig
from ragib.errors import IndexCorruptError, IndexDirError, InputError
from ragib.indexes.durable import replace_file, require_space
from ragib.indexes.index import Index
from ragib.indexes.lock import writing
from ragib.indexes.manifest import from_bytes
from ragib.indexes.store import manifest_path, read_current
from ragib.indexes.verify import verify
from ragib.types import Document

SPARSE = IndexConfig(kinds=("sparse",))


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "idx"
    Index.build([Document("a", "A poem."), Document("b", "A ship.")], path, SPARSE).close()
    return path


def rewrite_manifest(path: Path, **changes: object) -> None:
    """Change the manifest as another program might, hash included."""
    generation = read_current(path).generation
    manifest = manifest_path(path, generation)
    data = json.dumps(json.loads(manifest.read_bytes()) | changes).encode()
    manifest.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    (path / "CURRENT").write_text(f"{generation:06d} {digest}\n")


def test_newer_format(path):
    rewrite_manifest(path, format=2, ragib="9.9", surprise=True)
    for read in (Index.open, verify):
        with pytest.raises(
            IndexDirError, match=r"format 2, written by ragib 9\.9.*upgrade"
        ) as error:
            read(path)
        assert not isinstance(error.value, IndexCorruptError)


def test_engine_of_another_version(path):
    engines = json.loads(manifest_path(path, 1).read_bytes())["engines"]
    rewrite_manifest(path, engines={"sparse": engines["sparse"] | {"terms": "other"}})
    index = Index.open(path)
    before = read_current(path)
    for use in (lambda: index.search("poem"), lambda: index.add([Document("c", "A poem.")])):
        with pytest.raises(IndexDirError, match=r"its sparse index was built as .*build the index"):
            use()
    assert read_current(path) == before


@pytest.mark.parametrize("format_", [None, "1"])
def test_no_format(path, format_):
    rewrite_manifest(path, format=format_)
    with pytest.raises(IndexCorruptError, match="no format version"):
        Index.open(path)


@pytest.mark.parametrize("escape", ["../../etc/passwd", "/etc/passwd", ""])
def test_paths_stay_inside(path, escape):
    record = {"path": escape, "bytes": 1, "sha256": "0"}
    rewrite_manifest(path, projection=record)
    with pytest.raises(IndexCorruptError, match="leaves the index directory"):
        Index.open(path)


def test_manifest_that_is_no_json():
    with pytest.raises(IndexCorruptError, match="not valid JSON"):
        from_bytes(b"{", Path("m.json"))


def test_manifest_of_another_generation(path):
    rewrite_manifest(path, generation=7)
    with pytest.raises(IndexCorruptError, match="generation 7"):
        Index.open(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([1, 0]), "ascending"),
        (np.array([0, 0]), "ascending"),
        (np.array([0.5]), "ascending"),
        (np.array([5]), "do not exist"),
        (np.array([-1]), "do not exist"),
    ],
)
def test_impossible_tombstones(path, rows, message):
    file = path / "tombstones" / "000009.npy"
    file.parent.mkdir()
    np.save(file, rows)
    record = {
        "path": "tombstones/000009.npy",
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    rewrite_manifest(path, tombstones=record)
    with pytest.raises(IndexCorruptError, match=message):
        Index.open(path)


def test_tables_that_disagree_with_the_manifest(path):
    segment = json.loads(manifest_path(path, 1).read_bytes())["segments"][0]
    rewrite_manifest(path, segments=[segment | {"documents": 3}])
    assert "2 documents and 2 passages, not 3 and 2" in verify(path)[0]


def test_verify_on_what_is_no_index(tmp_path):
    with pytest.raises(IndexDirError, match="not an index"):
        verify(tmp_path)


def test_garbage_of_a_killed_writer_is_removed(path):
    for name in ("segments/000002/sparse/rows.npy", "tombstones/000002.npy", "projection-00.npy"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x")
    (path / "generations" / "000002.json").write_bytes(b"{")
    (path / "CURRENT.new").write_bytes(b"x")
    index = Index.open(path)
    index.delete(["a"])
    assert index.info()["generation"] == 3
    assert sorted(p.name for p in path.iterdir()) == [
        "CURRENT", "LOCK", "generations", "segments", "tombstones",
    ]  # fmt: skip
    for folder, name in [("segments", "000001"), ("generations", "000003.json")]:
        assert [p.name for p in (path / folder).iterdir()] == [name]


def test_lock_outlives_nobody(path):
    (path / "LOCK").write_text("process 1 on elsewhere\n")  # of a killed process
    assert Index.open(path).delete(["a"]) == 1
    with writing(path):
        assert str(os.getpid()) in (path / "LOCK").read_text()
    assert (path / "LOCK").read_text() == ""


def test_replace_file_leaves_no_scrap(tmp_path):
    replace_file(tmp_path / "a", b"1")
    replace_file(tmp_path / "a", b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"2")]


def test_room_is_asked_for_first(tmp_path):
    require_space(tmp_path, 1)
    with pytest.raises(IndexDirError, match=r"the disk is full.*run the same command again"):
        require_space(tmp_path, 1 << 60)


def test_opening_needs_no_right_to_write(path):
    for p in [path, *path.rglob("*")]:
        p.chmod(0o555 if p.is_dir() else 0o444)
    try:
        with Index.open(path, verify=True) as index:
            assert index.search("poem")[0].passage.doc_id == "a"
    finally:
        for p in [path, *path.rglob("*")]:
            p.chmod(0o755 if p.is_dir() else 0o644)


def test_unusable_ids(path):
    with pytest.raises(InputError, match="None"):
        Index.open(path).delete([None])
