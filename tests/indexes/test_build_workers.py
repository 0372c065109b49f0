"""Building with other processes: the same index, whoever encodes it and whoever is killed."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ragib.config import BuildConfig, ChunkConfig, EncoderConfig, IndexConfig, MultiVectorConfig
from ragib.errors import IndexDirError, InputError
from ragib.indexes import processes
from ragib.indexes.index import Index
from ragib.indexes.resume import finished, once
from ragib.indexes.shards import Task, from_task
from ragib.indexes.verify import verify
from ragib.types import Document

SHARD = 8


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("ragib.indexes.build.SHARD", SHARD)


def corpus(n: int = 60) -> list[Document]:
    return [
        Document(f"d{i}", f"The king of city {i} built bridge {i * i}. " * (1 + i % 3), f"t{i % 5}")
        for i in range(n)
    ]


def config(workers: int, **values) -> IndexConfig:
    chunks = ChunkConfig(max_tokens=64, overlap_tokens=0)
    values = {"kinds": ("sparse",), "chunk": chunks, **values}
    return IndexConfig(build=BuildConfig(workers=workers), **values)


def digest(index: Index) -> str:
    assert verify(index.path) == []
    return index.info()["digest"]


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    found = []
    for child in children:
        with suppress(psutil.NoSuchProcess):  # gone since, or dead and not yet waited for
            if "ragib.indexes.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


class Killer:
    """A progress callback that kills one worker after each of the first shards, each once."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.killed: list[int] = []

    def __call__(self, stage, done, total) -> None:
        if stage == "encode" and done and len(self.killed) < self.times:
            alive = [worker for worker in workers() if worker.pid not in self.killed]
            for victim in alive[:1]:
                victim.send_signal(signal.SIGKILL)
                self.killed.append(victim.pid)


def test_the_same_index_from_workers_that_are_killed(tmp_path, tiny_encoder_dir):
    values = {
        "kinds": ("dense", "multivector", "sparse"),
        "encoder": EncoderConfig(model=str(tiny_encoder_dir), max_tokens=64, device="cpu"),
        "multivector": MultiVectorConfig(dim=8),
    }
    alone = Index.build(corpus(), tmp_path / "alone", config(1, **values))
    killer = Killer(1)
    shared = Index.build(corpus(), tmp_path / "shared", config(2, **values), progress=killer)
    assert killer.killed
    assert digest(shared) == digest(alone)
    assert [hit.passage.id for hit in shared.search("king 7")] == [
        hit.passage.id for hit in alone.search("king 7")
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ragib.indexes.build.SHARD", SHARD)
        return digest(Index.build(corpus(), tmp_path_factory.mktemp("alone") / "idx", config(1)))


@pytest.mark.parametrize("number", [2, 9])
def test_any_number_of_workers(tmp_path, alone, number):
    seen: list[tuple[int, int | None]] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "encode":
            seen.append((done, total))

    index = Index.build(corpus(), tmp_path / "idx", config(number), progress=progress)
    assert digest(index) == alone
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[0] == (0, 60) and seen[-1] == (60, 60)
    assert not workers()


def test_many_kills(tmp_path, alone):
    killer = Killer(4)
    assert digest(Index.build(corpus(), tmp_path / "idx", config(2), progress=killer)) == alone
    assert len(killer.killed) > 2


def test_another_corpus_has_another_digest(tmp_path, alone):
    index = Index.build(corpus(59), tmp_path / "idx", config(1))
    assert digest(index) != alone
    assert digest(index.add(corpus()[59:])) != alone
    assert digest(index.compact()) == alone  # rows keep their order


DRIVER = """
    import json, sys
    from ragib.config import IndexConfig
    from ragib.indexes import build
    from ragib.indexes.index import Index
    from ragib.types import Document

    build.SHARD = int(sys.argv[3])
    documents = [Document(*values) for values in json.loads(sys.argv[4])]

    def progress(stage, done, total):
        print(stage, done, flush=True)

    Index.build(documents, sys.argv[1], IndexConfig(**json.loads(sys.argv[2])), progress=progress)
"""


def test_driver_killed_and_started_again(tmp_path, alone):
    path = tmp_path / "idx"
    documents = json.dumps([[d.id, d.text, d.title] for d in corpus()])
    command = ["-c", "\n".join(line[4:] for line in DRIVER.splitlines()), str(path)]
    values = json.dumps(config(2).model_dump(mode="json"))
    with subprocess.Popen(
        [sys.executable, *command, values, str(SHARD), documents], stdout=subprocess.PIPE, text=True
    ) as driver:
        for line in driver.stdout:
            if line == f"encode {2 * SHARD}\n":
                break
        orphans = workers()
        assert len(orphans) == 2
        driver.kill()
    _, left = psutil.wait_procs(orphans, timeout=60)
    assert not left  # they end with the one who started them
    done: list[int] = []

    def progress(stage: str, count: int, total: int | None) -> None:
        if stage == "encode":
            done.append(count)

    index = Index.build(corpus(), path, config(2), progress=progress)
    assert done[0] >= 2 * SHARD
    assert digest(index) == alone
    assert not (path / ".build").exists()


def test_a_shard_that_kills_its_workers(tmp_path, alone, monkeypatch):
    """As where one passage takes more memory than there is: told, and the rest is not lost."""
    real = processes._Worker.take

    def take(worker, spec):
        if spec.start == 2 * SHARD:
            worker.process.kill()
            worker.process.wait()
        real(worker, spec)

    monkeypatch.setattr(processes._Worker, "take", take)
    with pytest.raises(IndexDirError, match=r"4 workers died of passages 16 to 24.* SIGKILL"):
        Index.build(corpus(), tmp_path / "idx", config(2))
    assert not workers()
    monkeypatch.setattr(processes._Worker, "take", real)
    assert digest(Index.build(corpus(), tmp_path / "idx", config(1))) == alone


def test_errors_of_workers_are_those_of_this_process(tmp_path, monkeypatch):
    """Here, that the passages are no longer those the shard was made of."""
    real = processes._Worker.take

    def take(worker, spec):
        real(worker, replace(spec, inputs={**spec.inputs, "shard": "another"}))

    monkeypatch.setattr(processes._Worker, "take", take)
    with pytest.raises(IndexDirError, match="staged passages changed"):
        Index.build(corpus(), tmp_path / "idx", config(2))
    assert not workers()
    assert not (tmp_path / "idx").exists()


def test_a_worker_that_fails_otherwise(tmp_path, monkeypatch):
    real = processes._Worker.take
    monkeypatch.setattr(
        processes._Worker, "take", lambda worker, spec: real(worker, replace(spec, inputs={}))
    )
    with pytest.raises(RuntimeError, match="KeyError: 'shard'"):
        Index.build(corpus(), tmp_path / "idx", config(2))
    assert not workers()


def test_an_encoder_that_workers_cannot_load(tmp_path, tiny_encoder_dir):
    encoder = EncoderConfig(model=str(tiny_encoder_dir), device="cpu")
    task = Task(str(tmp_path), IndexConfig(encoder=encoder), ("mine", "0123"), None)
    with pytest.raises(InputError, match=r"mine at revision 0123.*index\.build\.workers=1"):
        from_task(json.loads(json.dumps(task.values())))


def test_an_interrupt_stops_the_workers(tmp_path):
    def progress(stage: str, done: int, total: int | None) -> None:
        if stage == "encode" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.build(corpus(), tmp_path / "idx", config(2), progress=progress)
    assert not workers()


def test_memory_is_bounded(tmp_path):
    """Documents come and go one at a time, and never more than a shard is held to be encoded."""
    alive = most = 0

    class Counted(str):
        def __new__(cls, text):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return super().__new__(cls, text)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def documents():
        for document in corpus(200):
            yield Document(document.id, Counted(document.text))

    index = Index.build(documents(), tmp_path / "idx", config(1))
    assert len(index) == 200
    assert most <= 3


def test_work_of_two_at_once(tmp_path):
    """A worker that was given up may finish after the one that took its place."""
    spec = {"what": 1}

    def write(out: Path) -> None:
        (out / "a").write_text("same")

    def slow(out: Path) -> None:
        write(out)
        inner = once(tmp_path, "encode", spec, write)
        assert finished(tmp_path, "encode", spec) == inner

    receipt = once(tmp_path, "encode", spec, slow)
    assert finished(tmp_path, "encode", spec) == receipt
    assert list(receipt.folder.parent.iterdir()) == [receipt.folder]
    (receipt.folder / "b").write_text("something else")
    assert finished(tmp_path, "encode", spec) is None
    assert once(tmp_path, "encode", spec, write) == (receipt)
    assert list(receipt.folder.parent.iterdir()) == [receipt.folder]
