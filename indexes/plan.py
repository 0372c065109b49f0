"""What an index will take, before it is built: passages, disk, memory and time.

The corpus is read once and counted (`ragib.indexes.survey`), bytes follow from a sample of its
passages (`ragib.indexes.sizes`), and some of those are encoded as a build does, into a folder that
is thrown away, and timed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ragib.config import DenseConfig, IndexConfig
from ragib.encoders import Encoder
from ragib.errors import InputError
from ragib.indexes.build import SAMPLE, SHARD, Progress, Staged
from ragib.indexes.choice import choose, explain
from ragib.indexes.engines import encoder_for
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.projection import fit_projection
from ragib.indexes.room import check_room, free_memory, held_memory
from ragib.indexes.shards import Recipe, encode_part
from ragib.indexes.sizes import passage_bytes, sizes
from ragib.indexes.store import BUILD
from ragib.indexes.structure import build_structure
from ragib.indexes.survey import PASSAGES, cut_sample, survey
from ragib.indexes.token_head import head_for, reduces
from ragib.text import batched
from ragib.types import Document, Passage

_BATCH = 32
_SECONDS = 2.0
"""Batches of so many passages are encoded for so long, after one that is not timed."""

_STRUCTURE = 1000
"""Vectors of a structure that is built to be timed."""

_DISK = 200e6
"""Bytes a second that merging reads, writes, syncs and hashes; what a plain disk does."""
_JOINING = 1e-5
"""Seconds a passage that its terms take to be joined, as measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build is predicted to take.

    `seconds` are by stage, as in the manifest. `disk` and `memory` are bytes at the peak of the
    build, `more_memory` those beyond what this process holds now. `dense` says how dense vectors
    will be stored, and why.
    """

    root: Path
    documents: int
    passages: int
    bytes: Mapping[str, int]
    disk: int
    memory: int
    more_memory: int
    seconds: Mapping[str, float]
    dense: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return the plan as JSON values, with what is free."""
        there = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        total = sum(self.bytes.values())
        return {
            "documents": self.documents,
            "passages": self.passages,
            "bytes": {**self.bytes, "total": total},
            "bytes_per_passage": round(total / self.passages, 1),
            **({} if self.dense is None else {"dense": self.dense}),
            "building": {
                "disk": self.disk,
                "memory": self.memory,
                "seconds": {**self.seconds, "total": round(sum(self.seconds.values()), 1)},
            },
            "free": {"disk": shutil.disk_usage(there).free, "memory": free_memory()},
        }

    def check(self) -> None:
        """Raise `IndexDirError` if the disk or the memory will not do; see `check_room`."""
        check_room(self.root, self.disk, self.more_memory)


def plan_index(
    root: Path,
    documents: Iterable[Document],
    config: IndexConfig,
    *,
    encoder: Encoder | None = None,
    progress: Progress,
) -> Plan:
    """Predict what building an index takes; nothing is written to `root`.

    Parameters
    ----------
    root
        Where the index would go.
    documents
        The corpus; read to its end, one document at a time.
    config
        What would be built.
    encoder
        Used in place of loading the one `config` names.
    progress
        Called with (stage, done, total).

    Raises
    ------
    InputError
        A document cannot be indexed, or there is none.
    """
    started = time.perf_counter()
    strata = survey(documents, progress)
    reading = time.perf_counter() - started
    if not strata:
        raise InputError(f"{root}: there are no documents to index")
    encoder = encoder_for(config, encoder)
    started = time.perf_counter()
    cut = cut_sample(strata, config.chunk, encoder)
    cutting = (time.perf_counter() - started) / cut.share
    sample, passages = cut.sample, cut.passages
    fitted = _fitted(passages, config, encoder)
    found = sizes(sample, passages, config, encoder, shard=SHARD, fitted=fitted)
    head = head_for(config, encoder)
    recipe = Recipe(config, encoder, None if head is None else head.projection)
    each = _seconds_a_passage(sample, recipe, bool(fitted), progress)
    text = passage_bytes(sample, passages, cut.documents)
    merging = 2 * found.building / _DISK + _structure_seconds(passages, config, encoder)
    if "sparse" in config.kinds:
        merging += passages * _JOINING
    seconds = {
        "chunk": reading + cutting,
        "project": fitted * each,
        "encode": passages * each,
        "merge": merging,
    }
    return Plan(
        root=root,
        documents=cut.documents,
        passages=passages,
        bytes={"passages": text, **{str(kind): n for kind, n in found.kinds.items()}},
        disk=text + found.building,
        memory=held_memory() + found.memory,
        more_memory=found.memory,
        seconds={stage: round(value, 1) for stage, value in seconds.items()},
        dense=_dense(passages, config.dense) if "dense" in config.kinds else None,
    )


def check_staged(root: Path, staged: Staged, recipe: Recipe) -> None:
    """Refuse to go on with a build that will not fit, as `check_room` does.

    The passages lie on the disk already, so it is known how many there are.
    """
    reader = PassageReader(root / BUILD / NAME)
    step = max(len(staged.sample) // PASSAGES, 1)
    sample = list(reader.rows(staged.sample[::step]).values())
    reader.close()
    config, encoder = recipe.config, recipe.encoder
    fitted = 0 if recipe.projection is not None else _fitted(staged.passages, config, encoder)
    found = sizes(sample, staged.passages, config, encoder, shard=SHARD, fitted=fitted)
    check_room(root, found.building, found.memory)


def _fitted(passages: int, config: IndexConfig, encoder: Encoder | None) -> int:
    """Return to how many passages a projection is fitted; 0 if the index needs none."""
    if not reduces(config, encoder) or head_for(config, encoder) is not None:
        return 0
    return min(passages, max(100, passages // 10), SAMPLE)


def _seconds_a_passage(
    sample: Sequence[Passage], recipe: Recipe, projected: bool, progress: Progress
) -> float:
    """Encode some of the sample as a build does, and time it."""
    progress("time", 0, 1)
    if projected and recipe.encoder is not None:
        texts = [(passage.title, passage.text) for passage in sample[:_BATCH]]
        tokens = recipe.encoder.passages(texts, dense=False, tokens=True).tokens or []
        vectors = np.concatenate([text.vectors for text in tokens])
        matrix = fit_projection(vectors, recipe.config.multivector.dim)
        recipe = replace(recipe, projection=matrix)
    engines = recipe.engines()
    timed, spent = 0, 0.0
    with TemporaryDirectory() as folder:
        # A corpus of one batch is encoded once more: the first time is slow.
        batches = [*batched(sample, _BATCH)]
        for number, passages in enumerate([batches[0], *(batches[1:] or batches)]):
            out = Path(folder) / str(number)
            out.mkdir()
            started = time.perf_counter()
            encode_part(passages, recipe.encoder, engines, out)
            if number:
                spent += time.perf_counter() - started
                timed += len(passages)
            if spent > _SECONDS:
                break
    progress("time", 1, 1)
    return spent / timed


def _dense(passages: int, config: DenseConfig) -> str:
    return explain(config, [(passages, choose(config, passages) == "rabitq")])


def _structure_seconds(count: int, config: IndexConfig, encoder: Encoder | None) -> float:
    """Time a small graph, which takes its time, and scale it by n log n."""
    if encoder is None or "dense" not in config.kinds or config.dense.storage != "hnsw":
        return 0.0
    dim = encoder.dense_dim or encoder.token_dim
    vectors = np.random.default_rng(0).standard_normal((_STRUCTURE, dim), dtype=np.float32)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        build_structure("hnsw", vectors, Path(folder) / "structure")
        taken = time.perf_counter() - started
    return taken * count / _STRUCTURE * max(float(np.log(count) / np.log(_STRUCTURE)), 1.0)
