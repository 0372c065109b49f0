"""Who encodes shards: this process, other processes of this machine, or a Ray cluster.

All of them map `EncodeShard` over the specs and give the receipts in whatever order they come;
what is built is the same.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ragib.indexes.resume import Receipt
from ragib.indexes.shards import EncodeShard, ShardSpec, Task


def run_shards(
    task: Task, encode: EncodeShard, specs: Sequence[ShardSpec]
) -> Generator[tuple[ShardSpec, Receipt], None, None]:
    """Encode shards as `index.build` says and yield each when it is done.

    Parameters
    ----------
    task
        What is told to other processes.
    encode
        The same with everything loaded, for this process.
    specs
        The shards that are not done.

    Raises
    ------
    IndexDirError
        A worker died too often, or does not see the folder of the index.
    InputError
        A passage cannot be encoded, or a worker loads another encoder.
    MissingExtraError
        Ray is not installed.
    """
    how = task.config.build
    if how.executor == "ray" and specs:
        from ragib.indexes.ray_pool import on_ray

        yield from on_ray(task, specs, how.workers, how.gpus)
    elif how.workers > 1 and len(specs) > 1:
        from ragib.indexes.processes import in_processes

        yield from in_processes(task, specs, how.workers)
    else:
        for spec in specs:
            yield spec, encode(spec)
