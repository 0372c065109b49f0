"""Processes that read while another writes: each sees one whole generation at a time."""

import multiprocessing
import time
from pathlib import Path

import pytest

from ragib.config import ChunkConfig, IndexConfig
from ragib.errors import IndexLockedError
from ragib.indexes.index import Index
from ragib.indexes.lock import writing
from ragib.indexes.verify import verify
from ragib.types import Document

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))


def version(n: int, size: int = 8) -> list[Document]:
    return [Document(f"d{i}", f"Version v{n} poem.", f"t{n}") for i in range(size)]


def write(path: str, rounds: int) -> None:
    for n in range(1, rounds):
        if n % 5 == 4:
            Index.build(version(n, 5), path, CONFIG, overwrite=True).close()
        else:
            with Index.open(path) as index:
                index.add(version(n))
                if n % 3 == 2:
                    index.compact()


def read(path: str, ready, stop, outcome) -> None:
    seen: set[str] = set()
    late = Index.open(path)
    first = [hit.passage for hit in late.search("poem", 50)]
    ready.wait(60)
    try:
        while not (seen and stop.is_set()):
            with Index.open(path) as index:
                time.sleep(0.01)  # for the writer to move on before anything is searched
                passages = list(index.passages())
                found = {hit.passage.text for hit in index.search("poem", 50)}
                assert len(found) == 1, found
                assert {passage.text for passage in passages} == found
                seen |= found
        assert [hit.passage for hit in late.search("poem", 50)] == first
        outcome.put(len(seen))
    except BaseException as error:
        outcome.put(repr(error))
        raise


def hold(path: str, held, release) -> None:
    with writing(Path(path)):
        held.set()
        release.wait(60)


@pytest.fixture
def context():
    return multiprocessing.get_context("spawn")


def test_two_processes_read_while_a_third_writes(tmp_path, context):
    path = str(tmp_path / "idx")
    Index.build(version(0), path, CONFIG).close()
    stop, outcome, ready = context.Event(), context.Queue(), context.Barrier(3)
    readers = [context.Process(target=read, args=(path, ready, stop, outcome)) for _ in range(2)]
    for reader in readers:
        reader.start()
    ready.wait(60)
    write(path, 25)
    stop.set()
    results = [outcome.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    assert all(isinstance(result, int) and result >= 1 for result in results), results
    assert verify(path) == []


def test_second_writer_in_another_process_is_refused(tmp_path, context):
    path = str(tmp_path / "idx")
    index = Index.build(version(0), path, CONFIG)
    held, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(path, held, release))
    holder.start()
    assert held.wait(60)
    for change in (
        lambda: index.add(version(1)),
        lambda: index.delete(["d0"]),
        lambda: index.compact(),
        lambda: Index.build(version(1), path, CONFIG, overwrite=True),
    ):
        with pytest.raises(IndexLockedError, match=f"process {holder.pid} on .* is writing"):
            change()
    release.set()
    holder.join()
    assert index.delete(["d0"]) == 1
