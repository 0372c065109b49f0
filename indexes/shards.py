"""Shards: runs of passages that any process may encode, as often as it must.

A `ShardSpec` says everything that decides what comes out, and `EncodeShard` makes the files of it,
written aside and put in place in one step with a receipt (see `ragib.indexes.resume`). It depends
on nothing else and changes nothing else, so a worker that was killed is simply replaced, and a
shard that two workers encode is the same from both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import IndexConfig, Kind
from ragib.encoders import Encoder, load_encoder
from ragib.errors import IndexDirError, InputError
from ragib.indexes.base import Batch, Engine
from ragib.indexes.engines import Projection, make_engine
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.resume import Receipt, Spec, digest_of, once
from ragib.indexes.store import BUILD
from ragib.types import Passage

STAGE = "encode"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What turns passages into a segment, the same for every segment of an index."""

    config: IndexConfig
    encoder: Encoder | None
    projection: Projection | None

    def engines(self) -> dict[Kind, Engine]:
        """Return the engine of every kind."""
        return {kind: make_engine(kind, self.config, self.projection) for kind in self.config.kinds}


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """Passages `start` to `stop` of the staged ones.

    `inputs` are JSON values: the digest of their texts (`shard`) and everything else that decides
    what comes out; not where or how fast it runs.
    """

    start: int
    stop: int
    inputs: Spec


@dataclass(frozen=True, slots=True)
class Task:
    """What the shards of one build share, to be told to another process.

    `encoder` is the name and revision of the model, `projection` the path of its matrix; either
    is `None` where the index uses none.
    """

    root: str
    config: IndexConfig
    encoder: tuple[str, str] | None
    projection: str | None

    def values(self) -> dict[str, Any]:
        """Return the task as JSON values."""
        return {
            "root": self.root,
            "config": self.config.model_dump(mode="json"),
            "encoder": self.encoder,
            "projection": self.projection,
        }


class EncodeShard:
    """Encodes shards of the build below the index directory `root`.

    `engines` has the engine of every kind.
    """

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self._root = root
        self._encoder = recipe.encoder
        self.engines = recipe.engines()

    def __call__(self, spec: ShardSpec) -> Receipt:
        """Return where the files of a shard are, encoding it unless that is done already.

        Raises
        ------
        IndexDirError
            The staged passages are not those that the shard was made of.
        """

        def encode(out: Path) -> None:
            encode_part(self._passages(spec), self._encoder, self.engines, out)

        return once(self._root, STAGE, spec.inputs, encode)

    def _passages(self, spec: ShardSpec) -> list[Passage]:
        reader = PassageReader(self._root / BUILD / NAME)
        try:
            passages = reader.slice(spec.start, spec.stop)
        finally:
            reader.close()
        if digest_of_texts(map(text_digest, passages)) != spec.inputs["shard"]:
            raise IndexDirError(
                f"{self._root}: its staged passages changed while they were encoded; is another "
                "build at work there? Run the same command again"
            )
        return passages


def from_task(values: Mapping[str, Any]) -> EncodeShard:
    """Load what a task names, in the process that will encode.

    Raises
    ------
    InputError
        The encoder that the configuration names is not the one of the build.
    """
    config = IndexConfig.model_validate(values["config"])
    encoder = None
    if values["encoder"] is not None:
        name, revision = values["encoder"]
        encoder = load_encoder(config.encoder)
        if encoder.revision != revision:
            raise InputError(
                f"the build was given encoder {name} at revision {revision}, but its workers load "
                f"what index.encoder names, {encoder.name} at {encoder.revision}; name the same "
                "one there, or encode in this process (index.build.workers=1)"
            )
    path = values["projection"]
    projection = None if path is None else np.load(path, allow_pickle=False)
    return EncodeShard(Path(values["root"]), Recipe(config, encoder, projection))


def encode_part(
    passages: Sequence[Passage],
    encoder: Encoder | None,
    engines: Mapping[Kind, Engine],
    out: Path,
) -> None:
    """Encode passages once, and write the part of every kind into the folder `out`."""
    dense = any(engine.needs_dense for engine in engines.values())
    tokens = any(engine.needs_tokens for engine in engines.values())
    encoded = None
    if encoder is not None:
        texts = [(passage.title, passage.text) for passage in passages]
        encoded = encoder.passages(texts, dense=dense, tokens=tokens)
    for kind, engine in engines.items():
        part = out / kind
        part.mkdir()
        engine.encode(Batch(passages, encoded), part)


def text_digest(passage: Passage) -> str:
    """Return the SHA-256 of what is encoded of a passage."""
    return digest_of([passage.title, passage.text])


def digest_of_texts(digests: Iterable[str]) -> str:
    """Return the digest of a shard out of those of its passages."""
    total = hashlib.sha256()
    for digest in digests:
        total.update(digest.encode())
    return total.hexdigest()
