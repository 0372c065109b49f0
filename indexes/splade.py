"""Learned sparse vectors out of a `SparseEncoder` of sentence-transformers (SPLADE and its kin).

Terms are the numbers of the encoder's dimensions, written as text: not every such encoder has a
vocabulary. (Formal et al. 2021, 2109.10086.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ragib.errors import InputError
from ragib.extras import offline, require

if TYPE_CHECKING:
    import torch


class SparseModel:
    """A `SparseEncoder`, from a folder or by hub name, on a GPU when there is one.

    Raises
    ------
    InputError
        The model cannot be found or loaded, or its weights are not safetensors.
    """

    def __init__(self, name: str) -> None:
        library = require("sentence_transformers", "the learned sparse engine")
        folder = Path(name).expanduser()
        try:
            self._encoder = library.SparseEncoder(
                str(folder) if folder.is_dir() else name,
                local_files_only=folder.is_dir() or offline(),
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"index.sparse.model: {name!r} cannot be loaded as a SparseEncoder: {reason}"
            ) from None

    def passages(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return the weighted terms of passages."""
        return _bags(self._encoder.encode_document(list(texts), show_progress_bar=False))

    def queries(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return the weighted terms of queries."""
        return _bags(self._encoder.encode_query(list(texts), show_progress_bar=False))


def _bags(vectors: torch.Tensor) -> list[dict[str, float]]:
    if not len(vectors):
        return []
    vectors = vectors.cpu().coalesce()
    bags: list[dict[str, float]] = [{} for _ in range(vectors.shape[0])]
    rows, dimensions = vectors.indices().tolist()
    for row, dimension, value in zip(rows, dimensions, vectors.values().tolist(), strict=True):
        if value > 0:
            bags[row][str(dimension)] = value
    return bags
