"""How a generation lies in a Qdrant collection.

A collection holds one generation and is never changed once it is complete; its name is that of
the alias, the generation's number and a hash of its manifest, so a push that was interrupted finds
its own. Every live passage is a point with its row as id (ties are broken alike), up to three
vectors (`dense`, `sparse`, `multivector`) and this payload::

    id, doc_id, title, text, start, end, access
    metadata     JSON, as a string: it comes back to the last digit
    facts, numbers.N, strings.N     what filters ask, see `ragib.indexes.qdrant.facts`

What a searcher needs besides (the manifest, the projection, the numbers of terms, the ranks of
strings) lies in points without vectors, which no search by vector can return. The manifest is
written last and so says that the collection is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ragib.config import Kind
from ragib.errors import InputError
from ragib.indexes.manifest import Manifest, to_bytes
from ragib.indexes.qdrant.connect import models
from ragib.types import Passage

LAYOUT = 1
"""Version of what is described above."""

MANIFEST = "manifest"
PROJECTION = "projection"

Widths = Mapping[Kind, int]
"""Kind -> dimensions of its vectors; 0 for sparse ones."""

_SPACE = uuid5(NAMESPACE_URL, "ragib/qdrant")
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_LONGEST_NAME = 200


def check_name(name: str) -> str:
    """Return the name of a collection, or raise `InputError` if Qdrant will not have it."""
    if not name or name in (".", "..") or _FORBIDDEN.search(name) or len(name) > _LONGEST_NAME:
        raise InputError(
            f"{name!r} cannot be the name of a collection: it has 1 to {_LONGEST_NAME} characters "
            'and none of <>:"/\\|?*; name another (--collection, retriever.store.collection)'
        )
    return name


def collection_of(name: str, manifest: Manifest) -> str:
    """Return the name of the collection in which an alias keeps a generation."""
    digest = hashlib.sha256(to_bytes(manifest) + str(LAYOUT).encode()).hexdigest()
    return f"{name}-{manifest.generation:06d}-{digest[:8]}"


def is_of(name: str, collection: str) -> bool:
    """Say whether a collection has such a name as `collection_of` gives."""
    return re.fullmatch(re.escape(name) + r"-\d{6,}-[0-9a-f]{8}", collection) is not None


def point_id(part: str) -> str:
    """Return the id of a point without vectors."""
    return str(uuid5(_SPACE, part))


def vectors_config(widths: Widths) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration of the dense and multi-vectors, and of the sparse ones.

    Vectors have the length at which they are compared, so all distances are dot products. The
    multi-vectors, by far the largest, stay on disk and get no graph: they are only ever compared
    with candidates, or all of them.
    """
    m = models()
    dense: dict[str, Any] = {}
    if "dense" in widths:
        dense["dense"] = m.VectorParams(size=widths["dense"], distance=m.Distance.DOT)
    if "multivector" in widths:
        dense["multivector"] = m.VectorParams(
            size=widths["multivector"],
            distance=m.Distance.DOT,
            multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM),
            hnsw_config=m.HnswConfigDiff(m=0),
            on_disk=True,
        )
    return dense, {"sparse": m.SparseVectorParams()} if "sparse" in widths else {}


def shape_of(dense: Any, sparse: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what two configurations of vectors must have in common to be the same."""
    if not isinstance(dense or {}, Mapping):
        return {"": dense.size}
    shape: dict[str, Any] = {
        name: (int(params.size), str(params.distance), params.multivector_config is not None)
        for name, params in (dense or {}).items()
    }
    return shape | dict.fromkeys(sparse or {}, "sparse")


def payload_of(passage: Passage) -> dict[str, Any]:
    """Return what a point keeps of its passage."""
    return {
        "id": passage.id,
        "doc_id": passage.doc_id,
        "title": passage.title,
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "access": list(passage.access),
        "metadata": json.dumps(dict(passage.metadata), ensure_ascii=False),
    }


def passage_of(payload: Mapping[str, Any]) -> Passage:
    """Return the passage that a point was made of."""
    return Passage(
        id=payload["id"],
        doc_id=payload["doc_id"],
        text=payload["text"],
        title=payload["title"],
        start=payload["start"],
        end=payload["end"],
        metadata=json.loads(payload["metadata"]),
        access=tuple(payload["access"]),
    )
