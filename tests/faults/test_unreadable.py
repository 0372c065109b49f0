"""A disk that gives an error for a file (EIO): said in one line, with the file's name.

Reading `/proc/self/mem` from its beginning gives that very error, to whoever reads.
"""

import shutil
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, IndexConfig
from ragib.corpus import BadRecords, read_corpus
from ragib.errors import CorpusError, IndexDirError
from ragib.indexes.index import Index
from ragib.indexes.verify import verify
from ragib.types import Document

BROKEN = Path("/proc/self/mem")
CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))

pytestmark = pytest.mark.skipif(not BROKEN.exists(), reason="there is no /proc on this system")


def breaks(path: Path) -> None:
    path.unlink()
    path.symlink_to(BROKEN)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "idx"
    Index.build([Document(f"d{i}", f"Poem {i}.") for i in range(5)], path, CONFIG).delete(["d3"])
    return path


@pytest.mark.parametrize("name", ["CURRENT", "generations/000002.json"])
def test_what_opening_reads(path, name):
    breaks(path / name)
    with pytest.raises(IndexDirError, match=rf"{name}: Input/output error"):
        Index.open(path)
    with pytest.raises(IndexDirError, match="there is an index already"):
        Index.build([Document("a", "text")], path, CONFIG)
    assert (path / name).is_symlink()
    with pytest.raises(IndexDirError):
        verify(path)


def test_every_file_of_a_segment(path):
    for file in sorted(p for p in path.glob("segments/**/*") if p.is_file()):
        copy = path.with_name("copy")
        shutil.copytree(path, copy)
        breaks(copy / file.relative_to(path))
        assert any(file.name in problem for problem in verify(copy))
        with pytest.raises(IndexDirError, match=file.name):
            Index.open(copy)
        shutil.rmtree(copy)


def test_a_corpus(tmp_path):
    (tmp_path / "good.txt").write_text("A poem.")
    (tmp_path / "broken.txt").symlink_to(BROKEN)
    with pytest.raises(CorpusError, match=r"broken\.txt: cannot be read \(Input/output error\)"):
        list(read_corpus(tmp_path))
    bad = BadRecords()
    assert [document.id for document in read_corpus(tmp_path, bad=bad)] == ["good.txt"]
    assert bad.count == 1
