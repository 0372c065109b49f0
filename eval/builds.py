"""The indexes of a grid: as few as will do, each built once and kept under what is in it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragib.config import KINDS, Config, EncoderConfig, IndexConfig, Kind
from ragib.encoders import Encoder, load_encoder
from ragib.errors import ConfigError
from ragib.eval.cache import key_of
from ragib.eval.encodings import RememberingEncoder
from ragib.eval.rundir import to_json, write_lines
from ragib.indexes.candidates import proposers
from ragib.indexes.engines import uses_encoder
from ragib.indexes.index import Index
from ragib.indexes.store import holds_index
from ragib.indexes.token_head import head_for
from ragib.types import Document

Progress = Callable[[str, int, int | None], None]
"""Called with (stage, done, total); the total is `None` while it is unknown."""

FOLDER = "indexes"


@dataclass(frozen=True, slots=True)
class Built:
    """An index of the cache, opened twice: `index` remembers the questions it has seen.

    `id` is the hash of its configuration and corpus. `spared` are the seconds that the build took
    less than one on its own, because another build had encoded the same passages.
    """

    id: str
    folder: Path
    index: Index
    plain: Index
    spared: float

    def close(self) -> None:
        """Close both."""
        self.index.close()
        self.plain.close()


def corpus_digest(documents: Iterable[Document]) -> tuple[str, int]:
    """Return the SHA-256 of documents, in their order, and how many there are."""
    digest, count = hashlib.sha256(), 0
    for document in documents:
        values = [document.id, document.title, document.text, document.access]
        line = json.dumps([*values, dict(document.metadata)], sort_keys=True)
        digest.update(f"{line}\n".encode())
        count += 1
    return digest.hexdigest(), count


def shared_indexes(configs: Mapping[str, Config]) -> dict[str, IndexConfig]:
    """Choose the index that serves each pipeline, so that there are as few as possible.

    Pipelines that fuse kinds search all there are, so each needs an index of just its kinds;
    those of one kind take any index that has it, made in the same way over the same passages.

    Parameters
    ----------
    configs
        Configurations by the name of their pipeline.

    Returns
    -------
    dict[str, IndexConfig]
        Pipeline name -> what to build.

    Raises
    ------
    ConfigError
        A pipeline searches a kind that its own `index.kinds` leaves out.
    """
    whole: list[IndexConfig] = []
    for config in configs.values():
        if config.retriever.using == "hybrid":
            exact = _only(config.index, config.index.kinds)
            whole += [exact] if exact not in whole else []
    grown: list[IndexConfig] = []
    for name, config in configs.items():
        needed = needed_kinds(config)
        for kind in needed:
            if kind not in config.index.kinds:
                key = "using" if kind == config.retriever.using else "candidates"
                raise ConfigError(
                    f"pipeline {name!r}: retriever.{key} is {getattr(config.retriever, key)}, but "
                    f"index.kinds holds only {', '.join(config.index.kinds)}"
                )
        if config.retriever.using == "hybrid" or any(_serves(index, config) for index in whole):
            continue
        place = next((i for i, index in enumerate(grown) if _joins(index, config)), None)
        if place is None:
            grown.append(_only(config.index, needed))
        else:
            section: dict[str, Any] = {kind: getattr(config.index, kind) for kind in needed}
            grown[place] = _only(
                grown[place].model_copy(update=section), (*grown[place].kinds, *needed)
            )
    return {
        name: next(index for index in [*whole, *grown] if _serves(index, config))
        for name, config in configs.items()
    }


def build_all(
    wanted: Sequence[IndexConfig],
    documents: Callable[[], Iterable[Document]],
    digest: str,
    cache: Path,
    progress: Progress,
) -> list[Built]:
    """Build the indexes that are not in the cache, and open all.

    A build that was interrupted goes on where it was. While several are built, encoded passages
    are kept in the cache, so that each is encoded once.

    Parameters
    ----------
    wanted
        What to build, each once.
    documents
        Reads the corpus anew.
    digest
        Of that corpus (`corpus_digest`).
    cache
        Folder of the cache.
    progress
        Called with a stage, one a build.

    Raises
    ------
    IndexDirError, InputError, MissingExtraError
        As `Index.build`.
    """
    encoders: dict[str, Encoder] = {}
    built = []
    (cache / FOLDER).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="encoded-", dir=cache) as aside:
        remembering: dict[str, RememberingEncoder] = {}
        for number, config in enumerate(wanted, 1):
            plain = _encoder(config, encoders)
            key = config.encoder.model_dump_json()
            if plain is not None and key not in remembering:
                others = sum(uses_encoder(one.kinds) for one in wanted) > 1
                remembering[key] = RememberingEncoder(plain, Path(aside) if others else None)
            encoder = remembering.get(key) if plain is not None else None
            name = index_id(config, digest, plain)
            stage = f"index {number} of {len(wanted)}"
            built.append(
                _built(name, cache / FOLDER, config, documents, plain, encoder, stage, progress)
            )
    return built


def index_id(config: IndexConfig, digest: str, encoder: Encoder | None) -> str:
    """Return the hash of all that decides what is in an index; not where or how fast it is made."""
    values = config.model_dump(mode="json")
    where = EncoderConfig().model_dump(mode="json")
    values["encoder"] |= {key: where[key] for key in ("device", "batch_size")}
    del values["build"]
    if encoder is None:
        values["encoder"] = None
    revision = encoder and [encoder.name, encoder.revision]
    head = head_for(config, encoder)
    return key_of(values, digest, revision, head and head.sha256)


def _built(
    name: str,
    folder: Path,
    config: IndexConfig,
    documents: Callable[[], Iterable[Document]],
    plain: Encoder | None,
    encoder: RememberingEncoder | None,
    stage: str,
    progress: Progress,
) -> Built:
    root, note = folder / name[:16], folder / f"{name[:16]}.json"
    if holds_index(root):
        index = Index.open(root, encoder=encoder)
    else:
        before = encoder.spared if encoder is not None else 0.0
        write_lines(note, [to_json({"spared": 0.0})])

        def shown(part: str, done: int, total: int | None) -> None:
            if part == "encode":
                progress(stage, done, total)

        index = Index.build(documents(), root, config, encoder=encoder, progress=shown)
        after = encoder.spared if encoder is not None else 0.0
        write_lines(note, [to_json({"spared": after - before})])
    spared = json.loads(note.read_text())["spared"] if note.is_file() else 0.0
    return Built(name, root, index, Index.open(root, encoder=plain), float(spared))


def _encoder(config: IndexConfig, known: dict[str, Encoder]) -> Encoder | None:
    if not uses_encoder(config.kinds):
        return None
    key = config.encoder.model_dump_json()
    if key not in known:
        known[key] = load_encoder(config.encoder)
    return known[key]


def _only(config: IndexConfig, kinds: Iterable[Kind]) -> IndexConfig:
    """Leave out what is said of kinds that are not built, so that it makes no difference."""
    wanted = set(kinds)
    plain = IndexConfig()
    update: dict[str, Any] = {k: getattr(plain, k) for k in KINDS if k not in wanted}
    update["kinds"] = tuple(kind for kind in KINDS if kind in wanted)
    return config.model_copy(update=update)


def needed_kinds(config: Config) -> list[Kind]:
    """Return the kinds that a pipeline's search uses: its own, and what proposes candidates."""
    using = config.retriever.using
    kinds = config.index.kinds if using == "hybrid" else (using,)
    return [*kinds, *proposers(config.retriever, kinds, KINDS)]


def _serves(index: IndexConfig, config: Config) -> bool:
    if config.retriever.using == "hybrid":
        return index == _only(config.index, config.index.kinds)
    return _alike(index, config.index) and all(
        kind in config.index.kinds
        and kind in index.kinds
        and getattr(index, kind) == getattr(config.index, kind)
        for kind in needed_kinds(config)
    )


def _joins(index: IndexConfig, config: Config) -> bool:
    same = all(
        kind not in index.kinds or getattr(index, kind) == getattr(config.index, kind)
        for kind in needed_kinds(config)
    )
    return same and _alike(index, config.index)


def _alike(index: IndexConfig, other: IndexConfig) -> bool:
    return index.encoder == other.encoder and index.chunk == other.chunk
