"""Shards encoded by processes of this machine, each replaced when it dies.

A worker is told the task and then one shard at a time, in lines of JSON, and answers each with its
receipt; it ends with the process that started it (see `ragib.indexes.worker`).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ragib import errors
from ragib.errors import IndexDirError, RagibError
from ragib.indexes.resume import Receipt
from ragib.indexes.shards import ShardSpec, Task

RETRIES = 3
"""Times that a shard is given to another worker after one has died of it."""


def in_processes(
    task: Task, specs: Sequence[ShardSpec], workers: int
) -> Iterator[tuple[ShardSpec, Receipt]]:
    """Encode shards in up to `workers` processes and yield each when it is done.

    Raises
    ------
    IndexDirError
        Workers died of one shard again and again.
    RagibError
        What a worker raised.
    """
    waiting = deque(specs)
    deaths: Counter[int] = Counter()
    team = [_Worker(task, workers) for _ in range(min(workers, len(specs)))]
    try:
        with selectors.DefaultSelector() as selector:
            for worker in team:
                worker.take(waiting.popleft())
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            while selector.get_map():
                for key, _ in selector.select():
                    worker = key.data
                    spec, receipt = worker.spec, worker.answer()
                    if receipt is not None:
                        yield spec, receipt
                    selector.unregister(worker.answers)
                    if receipt is None:
                        deaths[spec.start] += 1
                        if deaths[spec.start] > RETRIES:
                            raise IndexDirError(_gave_up(task, spec, worker))
                        waiting.appendleft(spec)
                        worker.end()
                        team.remove(worker)
                        worker = _Worker(task, workers)
                        team.append(worker)
                    if waiting:
                        worker.take(waiting.popleft())
                        selector.register(worker.answers, selectors.EVENT_READ, worker)
    finally:
        for worker in team:
            worker.end()


class _Worker:
    """A process that encodes shards; `spec` is the one it has at the moment."""

    def __init__(self, task: Task, workers: int) -> None:
        threads = max(len(os.sched_getaffinity(0)) // workers, 1)
        command = [sys.executable, "-P", "-m", "ragib.indexes.worker"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt at the keyboard is for the one who started it
            env={"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": _path()},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._orders, self.answers = self.process.stdin, self.process.stdout
        self._tell(task.values())

    def take(self, spec: ShardSpec) -> None:
        """Give the worker its next shard."""
        self.spec = spec
        self._tell({"start": spec.start, "stop": spec.stop, "inputs": spec.inputs})

    def answer(self) -> Receipt | None:
        """Return the receipt that is there to be read, or `None` if the worker has died."""
        line = self.answers.readline()
        if not line.endswith(b"\n"):
            return None
        values = json.loads(line)
        if "error" not in values:
            return Receipt(Path(values["folder"]), values["sha256"])
        kind = getattr(errors, values["error"], None)
        if isinstance(kind, type) and issubclass(kind, RagibError):
            raise kind(values["message"])
        raise RuntimeError(f"a worker of the build failed:\n{values['message']}")

    def end(self) -> None:
        """Stop the process, whatever it is doing, and wait until it is gone."""
        self.process.kill()
        for pipe in (self._orders, self.answers):
            with suppress(OSError):
                pipe.close()
        self.process.wait()

    def _tell(self, values: object) -> None:
        with suppress(BrokenPipeError):  # whoever has died is found when there is no answer
            self._orders.write(json.dumps(values).encode() + b"\n")
            self._orders.flush()


def _path() -> str:
    # Where this ragib is, installed or not; never the current folder.
    here = str(Path(errors.__file__).parent.parent)
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def _gave_up(task: Task, spec: ShardSpec, worker: _Worker) -> str:
    code = worker.process.wait()
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return (
        f"{task.root}: {RETRIES + 1} workers died of passages {spec.start:,} to {spec.stop:,}, the "
        f"last one {how}; if memory is short, set index.build.workers lower. Run the same command "
        "again: finished work is used again"
    )
