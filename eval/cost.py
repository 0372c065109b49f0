"""What an index costs: bytes of the kinds that are searched, and seconds to build."""

from __future__ import annotations

from collections.abc import Sequence

from ragib.config import Kind, Using
from ragib.eval.builds import Built
from ragib.indexes.index import Index


def index_bytes(index: Index, using: Using, beside: Sequence[Kind] = ()) -> int:
    """Return the bytes that searching one kind needs, the passages among them; hybrid: all.

    `beside` are the kinds that propose candidates to it.
    """
    sizes = index.info()["bytes"]
    total: int = sizes["total"]
    if using == "hybrid":
        return total
    others = [kind for kind in index.config.kinds if kind not in (using, *beside)]
    size: int = total - sum(sizes[kind] for kind in others)
    if using != "multivector" and "multivector" in others:
        parts = sum(sizes[name] for name in ("passages", *index.config.kinds))
        size -= total - parts  # the projection of token vectors
    return size


def costs(built: Built, using: Using, beside: Sequence[Kind] = ()) -> dict[str, float]:
    """Return `index_bytes`, `bytes_a_passage` and `build_seconds`.

    The seconds are those of all kinds in the index, which share the encoding, and of a build on
    its own.
    """
    size = index_bytes(built.index, using, beside)
    seconds = sum(built.index.info()["seconds"].values())
    return {
        "index_bytes": float(size),
        "bytes_a_passage": size / max(1, len(built.index)),
        "build_seconds": seconds + built.spared,
    }
