"""Shards encoded by the workers of a Ray cluster.

An actor that dies is restarted, on another node if need be, and Ray gives it its shard again. That
may take until a node is back, so a worker with nothing left to do takes over a shard that another
has not finished: a shard may be encoded twice. What is finished is recorded by the receipts in the
folder of the index alone, which all nodes must see at the same path.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ragib.errors import IndexDirError
from ragib.extras import require
from ragib.indexes.resume import Receipt, finished
from ragib.indexes.shards import STAGE, EncodeShard, ShardSpec, Task, from_task

RETRIES = 3
"""Times that Ray gives a shard to an actor again after it has died of it."""


class Encoding:
    """An actor that encodes shards; it loads what the task names with the first of them."""

    def __init__(self, task: Mapping[str, Any], folder: str) -> None:
        with suppress(OSError):  # a configuration may name models by relative paths
            os.chdir(folder)
        self._task = task
        self._encode: EncodeShard | None = None

    def encode(self, start: int, stop: int, inputs: Mapping[str, Any]) -> tuple[str, str]:
        """Encode a shard; return its folder and its digest."""
        self._encode = self._encode or from_task(self._task)
        receipt = self._encode(ShardSpec(start, stop, inputs))
        return str(receipt.folder), receipt.sha256


def on_ray(
    task: Task, specs: Sequence[ShardSpec], workers: int, gpus: float
) -> Iterator[tuple[ShardSpec, Receipt]]:
    """Encode shards on a Ray cluster and yield each when it is done.

    The cluster is the one this process is connected to, else the one `RAY_ADDRESS` or `ray start`
    names, else this machine alone.

    Parameters
    ----------
    task, specs
        What to encode.
    workers
        Actors, at most.
    gpus
        GPUs that each of them takes.

    Raises
    ------
    IndexDirError
        A worker died again and again, or does not write to this folder.
    RagibError
        What a worker raised.
    MissingExtraError
        Ray is not installed.
    """
    ray = require("ray", "building on Ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    options = {"max_restarts": -1, "max_task_retries": RETRIES, "num_gpus": gpus}
    actor = ray.remote(Encoding).options(**options)
    actors = [actor.remote(task.values(), str(Path.cwd())) for _ in range(min(workers, len(specs)))]
    try:
        yield from _map(ray, actors, task, specs)
    finally:
        for one in actors:
            ray.kill(one)
        if started:
            ray.shutdown()


def _map(
    ray: Any,  # noqa: ANN401
    actors: Sequence[Any],
    task: Task,
    specs: Sequence[ShardSpec],
) -> Iterator[tuple[ShardSpec, Receipt]]:
    missing = dict(enumerate(specs))
    given = Counter(dict.fromkeys(missing, 0))
    running: dict[Any, tuple[Any, int]] = {}
    idle = list(actors)
    while missing:
        for one in idle:
            number = min(missing, key=lambda number: given[number])
            given[number] += 1
            spec = missing[number]
            running[one.encode.remote(spec.start, spec.stop, spec.inputs)] = one, number
        (done,), _ = ray.wait(list(running), num_returns=1)
        one, number = running.pop(done)
        idle = [one]
        receipt = _receipt(ray, done, task, specs[number])
        if missing.pop(number, None) is not None:
            yield specs[number], receipt


def _receipt(ray: Any, done: Any, task: Task, spec: ShardSpec) -> Receipt:  # noqa: ANN401
    try:
        folder, sha256 = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise IndexDirError(
            f"{task.root}: Ray workers died {RETRIES + 1} times of passages {spec.start:,} to "
            f"{spec.stop:,} ({str(error).splitlines()[0]}); run the same command again: finished "
            "work is used again"
        ) from None
    receipt = Receipt(Path(folder), sha256)
    if finished(Path(task.root), STAGE, spec.inputs) != receipt:
        raise IndexDirError(
            f"{task.root}: a Ray worker wrote to {folder}, but that is not there; all nodes must "
            "see the folder of the index at the same path"
        )
    return receipt
