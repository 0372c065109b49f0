"""Building a segment: chunk, encode shard by shard, merge; what is finished is never done twice."""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import IndexConfig, Kind
from ragib.corpus import chunk, word_tokens
from ragib.encoders import Encoder
from ragib.indexes.base import Engine
from ragib.indexes.durable import clear, files_below, require_space, sync, sync_tree
from ragib.indexes.executors import run_shards
from ragib.indexes.manifest import FileRecord, SegmentRecord, record_file
from ragib.indexes.passage_writer import PassageWriter, check_document
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.projection import fit_projection
from ragib.indexes.resume import Receipt, digest_of, finished, once, sweep
from ragib.indexes.shards import STAGE, EncodeShard, Recipe, ShardSpec, Task, text_digest
from ragib.indexes.store import BUILD
from ragib.indexes.token_head import head_for, reduces
from ragib.types import Document

Progress = Callable[[str, int, int | None], None]
"""Called with (stage, done, total); the total is `None` while it is unknown."""

SHARD = 256
"""Passages encoded at a time: what an interruption can cost, and what memory must hold."""

SAMPLE = 1000
"""Passages, at most, whose token vectors the projection is fitted to.

They are encoded twice, so of a small corpus only a tenth is taken: 100 passages hold some 10,000
token vectors, plenty for a matrix of a few hundred rows.
"""

_MATRIX = "projection.npy"


@dataclass(slots=True)
class Staged:
    """Passages written and counted, not yet encoded.

    `shards` are the digests of each run of `SHARD` passages; `sample` the rows to fit a
    projection to, chosen by the hash of their text.
    """

    documents: int = 0
    passages: int = 0
    restricted: bool = False
    shards: list[str] = field(default_factory=list)
    sample: list[int] = field(default_factory=list)


class Stopwatch:
    """Adds up the seconds each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = self.seconds.get(stage, 0.0) + time.perf_counter() - start
            self.seconds[stage] = round(spent, 3)


def stage_passages(
    root: Path, documents: Iterable[Document], recipe: Recipe, progress: Progress
) -> Staged:
    """Cut documents into passages and write them to `.build`, one document at a time."""
    count = word_tokens if recipe.encoder is None else recipe.encoder.count_tokens
    staged = Staged()
    shard = hashlib.sha256()
    smallest: list[tuple[int, int]] = []
    (root / BUILD).mkdir(exist_ok=True)
    with PassageWriter(root / BUILD / NAME) as writer:
        for document in documents:
            check_document(document)
            passages = chunk(document, recipe.config.chunk, count)
            for row, passage in enumerate(passages, writer.passages):
                digest = text_digest(passage)
                if row % SHARD == 0 and row:
                    staged.shards.append(shard.hexdigest())
                    shard = hashlib.sha256()
                shard.update(digest.encode())
                item = (-int(digest[:16], 16), -row)
                if len(smallest) < SAMPLE:
                    heapq.heappush(smallest, item)
                else:
                    heapq.heappushpop(smallest, item)
            writer.add(document, passages)
            progress("chunk", writer.documents, None)
    if writer.passages:
        staged.shards.append(shard.hexdigest())
    staged.documents, staged.passages = writer.documents, writer.passages
    staged.restricted = writer.restricted
    size = min(max(100, writer.passages // 10), SAMPLE)
    staged.sample = sorted(-row for _, row in heapq.nlargest(size, smallest))
    return staged


def prepare_projection(
    root: Path, staged: Staged, config: IndexConfig, encoder: Encoder | None, progress: Progress
) -> tuple[Path, str] | None:
    """Put the projection of token vectors into a file, and say what it is.

    It is the trained head that the index is to use, or else fitted to the sample; `None` if the
    index needs none.
    """
    head = head_for(config, encoder)
    if head is not None:
        done = once(
            root,
            "project",
            {"head": head.sha256},
            lambda out: np.save(out / _MATRIX, head.projection),
        )
        return done.folder / _MATRIX, f"trained head {head.sha256[:12]}"
    if encoder is None or not reduces(config, encoder):
        return None
    dim = config.multivector.dim
    reader = PassageReader(root / BUILD / NAME)
    passages = list(reader.rows(staged.sample).values())
    reader.close()
    passages.sort(key=lambda passage: passage.id)
    texts = [(passage.title, passage.text) for passage in passages]

    def fit(out: Path) -> None:
        progress("project", 0, 1)
        tokens = encoder.passages(texts, dense=False, tokens=True).tokens
        assert tokens is not None
        vectors = np.concatenate([text.vectors for text in tokens])
        np.save(out / _MATRIX, fit_projection(vectors, dim))
        progress("project", 1, 1)

    spec = {"projection": dim, "texts": digest_of(texts), **_inputs(config, encoder)}
    return once(root, "project", spec, fit).folder / _MATRIX, "svd of a sample"


def encode_shards(
    root: Path, staged: Staged, recipe: Recipe, projection: FileRecord | None, progress: Progress
) -> list[Path]:
    """Encode every shard that is not done yet and return the folders of all, in order."""
    encode = EncodeShard(root, recipe)
    specs = _specs(staged, recipe, encode.engines, projection)
    sweep(root, STAGE, [spec.inputs for spec in specs])
    done: dict[int, Receipt] = {}
    for spec in specs:
        found = finished(root, STAGE, spec.inputs)
        if found is not None:
            done[spec.start] = found
    encoded = sum(spec.stop - spec.start for spec in specs if spec.start in done)
    progress("encode", encoded, staged.passages)
    encoder = recipe.encoder
    task = Task(
        root=str(root.absolute()),
        config=recipe.config,
        encoder=None if encoder is None else (encoder.name, encoder.revision),
        projection=None if projection is None else str(root.absolute() / projection.path),
    )
    missing = [spec for spec in specs if spec.start not in done]
    with closing(run_shards(task, encode, missing)) as running:
        for spec, receipt in running:
            done[spec.start] = receipt
            encoded += spec.stop - spec.start
            progress("encode", encoded, staged.passages)
    return [done[spec.start].folder for spec in specs]


def _specs(
    staged: Staged,
    recipe: Recipe,
    engines: Mapping[Kind, Engine],
    projection: FileRecord | None,
) -> list[ShardSpec]:
    common = {
        "engines": {kind: engine.describe() for kind, engine in engines.items()},
        "projection": None if projection is None else projection.sha256,
        **_inputs(recipe.config, recipe.encoder),
    }
    return [
        ShardSpec(start, min(start + SHARD, staged.passages), {"shard": texts, **common})
        for start, texts in zip(range(0, staged.passages, SHARD), staged.shards, strict=True)
    ]


def merge_shards(
    root: Path, id_: str, staged: Staged, recipe: Recipe, shards: list[Path], progress: Progress
) -> SegmentRecord:
    """Merge encoded shards, and move the segment to where it stays; not yet committed."""
    folder = new_segment(root)
    engines = recipe.engines()
    for number, (kind, engine) in enumerate(engines.items()):
        progress("merge", number, len(engines))
        merge_parts(engine, [shard / kind for shard in shards], None, folder / kind)
    progress("merge", len(engines), len(engines))
    (root / BUILD / NAME).replace(folder / NAME)
    return place_segment(root, id_, staged.documents, staged.passages, staged.restricted)


def merge_parts(engine: Engine, parts: list[Path], keep: Any, out: Path) -> None:  # noqa: ANN401
    """Merge parts into the new folder `out`, if the disk has room for it."""
    size = sum(path.stat().st_size for part in parts for path in files_below(part))
    out.mkdir()
    require_space(out, size)
    engine.merge(parts, keep if keep is not None else [None] * len(parts), out)


def new_segment(root: Path) -> Path:
    """Return the empty folder in which a segment is put together."""
    folder = root / BUILD / "segment"
    clear(folder)
    folder.mkdir(parents=True)
    return folder


def place_segment(
    root: Path, id_: str, documents: int, passages: int, restricted: bool
) -> SegmentRecord:
    """Sync the finished segment, move it to where it stays, and record its files."""
    folder, home = root / BUILD / "segment", root / "segments" / id_
    sync_tree(folder)
    clear(home)
    home.parent.mkdir(exist_ok=True)
    folder.rename(home)
    sync(home.parent)
    files = tuple(record_file(root, path) for path in files_below(home))
    return SegmentRecord(
        id=id_, documents=documents, passages=passages, restricted=restricted, files=files
    )


def _inputs(config: IndexConfig, encoder: Encoder | None) -> dict[str, Any]:
    """Return what, besides the texts, decides what comes out; not where or how fast it runs."""
    values = config.model_dump(mode="json")
    for where in ("device", "batch_size"):
        del values["encoder"][where]
    del values["build"]
    return {"config": values, "encoder": encoder and [encoder.name, encoder.revision]}
