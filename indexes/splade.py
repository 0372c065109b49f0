"""Learned sparse vectors out of a `SparseEncoder` of sentence-transformers (SPLADE and its kin).

Terms are the numbers of the encoder's dimensions, written as text: not every such encoder has a
vocabulary. (Formal et al. 2021, 2109.10086.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragib.extras import offline, refuse_offline, require

if TYPE_CHECKING:
    import torch


class SparseModel:
    """A `SparseEncoder`, from a folder or by hub name, on a GPU when there is one."""

    def __init__(self, name: str) -> None:
        library = require("sentence_transformers", "the learned sparse engine")
        local = Path(name).is_dir()
        if not local and offline():
            refuse_offline(f"sparse model {name!r}, which is not a local folder,")
        self._encoder = library.SparseEncoder(name, local_files_only=local)

    def passages(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return the weighted terms of passages."""
        return _bags(self._encoder.encode_document(list(texts), show_progress_bar=False))

    def queries(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return the weighted terms of queries."""
        return _bags(self._encoder.encode_query(list(texts), show_progress_bar=False))


def _bags(vectors: torch.Tensor) -> list[dict[str, float]]:
    vectors = vectors.cpu().coalesce()
    bags: list[dict[str, float]] = [{} for _ in range(vectors.shape[0])]
    rows, dimensions = vectors.indices().tolist()
    for row, dimension, value in zip(rows, dimensions, vectors.values().tolist(), strict=True):
        if value > 0:
            bags[row][str(dimension)] = value
    return bags
