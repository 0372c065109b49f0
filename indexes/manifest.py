"""The manifest: what one generation of an index consists of, down to every file's SHA-256.

A manifest is never changed. `CURRENT` names one by number and hash, so a manifest that does not
fit its hash, or a file that does not fit its manifest, is found before anything is parsed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ragib.config import IndexConfig, Kind
from ragib.errors import IndexCorruptError, IndexDirError
from ragib.indexes.choice import explain
from ragib.indexes.durable import sha256_of
from ragib.indexes.rabitq import CODES

FORMAT = 1
"""Version of the layout of an index directory that this code reads and writes."""


def _stays_inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError(f"{path!r} leaves the index directory")
    return path


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    """A file, its size in bytes and its SHA-256; `path` is relative to the index directory."""

    path: Annotated[str, AfterValidator(_stays_inside)]
    bytes: int
    sha256: str


class SegmentRecord(_Record):
    """An immutable run of passages with everything indexed of them.

    `documents` and `passages` count deleted ones too; `restricted` says that some document is
    not visible to everybody.
    """

    id: str
    documents: int
    passages: int
    restricted: bool
    files: tuple[FileRecord, ...]


class EncoderRecord(_Record):
    """The model whose vectors are in the index."""

    name: str
    revision: str


class Manifest(_Record):
    """One generation; `documents` and `passages` count live ones, `seconds` is build time.

    `projection_kind` says what the projection is; older manifests do not, and theirs are fitted.
    """

    format: int
    generation: int
    ragib: str
    created: str
    config: IndexConfig
    encoder: EncoderRecord | None
    engines: dict[Kind, dict[str, Any]]
    projection: FileRecord | None
    projection_kind: str | None = None
    segments: tuple[SegmentRecord, ...]
    tombstones: FileRecord | None
    documents: int
    passages: int
    seconds: dict[str, float]

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All files of the generation."""
        single = [record for record in (self.projection, self.tombstones) if record is not None]
        return (*single, *(record for segment in self.segments for record in segment.files))

    @property
    def restricted(self) -> bool:
        """Whether some document is not visible to everybody."""
        return any(segment.restricted for segment in self.segments)

    @property
    def rows(self) -> int:
        """The number of passages in all segments, deleted ones included."""
        return sum(segment.passages for segment in self.segments)


def record_file(root: Path, path: Path) -> FileRecord:
    """Measure and hash a file of the index directory `root`."""
    return FileRecord(
        path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=sha256_of(path)
    )


def to_bytes(manifest: Manifest) -> bytes:
    """Return a manifest as the JSON that is stored."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode()


def from_bytes(data: bytes, source: Path) -> Manifest:
    """Read a manifest; `source` goes into error messages.

    Raises
    ------
    IndexDirError
        It was written by a newer version of ragib.
    IndexCorruptError
        It is not a manifest.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IndexCorruptError(f"{source}: not valid JSON: {error}") from None
    version = values.get("format") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise IndexCorruptError(f"{source}: not a manifest: it has no format version")
    if version > FORMAT:
        raise IndexDirError(
            f"{source}: the index has format {version}, written by ragib {values.get('ragib')}; "
            f"this version reads up to format {FORMAT}: upgrade ragib, or build the index again"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise IndexCorruptError(f"{source}: {key}: {first['msg']}") from None


def digest(manifest: Manifest) -> str:
    """Return one SHA-256 over what is indexed, as the manifest records it.

    It covers the hash and size of every file and where it belongs, but neither the numbers of
    generations nor dates: two builds of one corpus have the same, whoever encoded it.
    """
    files = [
        [str(number), *record.path.split("/")[2:], record.bytes, record.sha256]
        for number, segment in enumerate(manifest.segments)
        for record in segment.files
    ]
    single = [record and record.sha256 for record in (manifest.projection, manifest.tombstones)]
    return hashlib.sha256(json.dumps([single, files]).encode()).hexdigest()


def describe(manifest: Manifest) -> dict[str, Any]:
    """Return what a user may want to know about a generation, as JSON values."""
    sizes: dict[str, int] = dict.fromkeys(("passages", *manifest.config.kinds), 0)
    for segment in manifest.segments:
        for record in segment.files:
            name = record.path.split("/")[2]
            sizes["passages" if name not in sizes else name] += record.bytes
    live = max(manifest.passages, 1)
    chosen: dict[Kind, dict[str, str]] = {}
    if "dense" in manifest.config.kinds:
        written = [
            (s.passages, any(record.path.endswith(f"/dense/{CODES}") for record in s.files))
            for s in manifest.segments
        ]
        chosen["dense"] = {"choice": explain(manifest.config.dense, written)}
    return {
        "format": manifest.format,
        "ragib": manifest.ragib,
        "created": manifest.created,
        "generation": manifest.generation,
        "digest": digest(manifest),
        "documents": manifest.documents,
        "passages": manifest.passages,
        "deleted_passages": manifest.rows - manifest.passages,
        "segments": [
            {"id": s.id, "documents": s.documents, "passages": s.passages}
            for s in manifest.segments
        ],
        "restricted": manifest.restricted,
        "kinds": {
            kind: {
                **manifest.engines[kind],
                **chosen.get(kind, {}),
                "bytes": sizes[kind],
                "bytes_per_passage": round(sizes[kind] / live, 1),
            }
            for kind in manifest.config.kinds
        },
        "bytes": {**sizes, "total": sum(record.bytes for record in manifest.files)},
        "encoder": manifest.encoder and manifest.encoder.model_dump(),
        "projection": manifest.projection and manifest.projection.path,
        "projection_kind": manifest.projection_kind or (manifest.projection and "svd of a sample"),
        "seconds": manifest.seconds,
        "config": manifest.config.model_dump(mode="json"),
    }
