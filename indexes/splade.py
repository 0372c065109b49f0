"""Learned sparse vectors out of a `SparseEncoder` of sentence-transformers (SPLADE and its kin).

Terms are the numbers of the encoder's dimensions, written as text: not every such encoder has a
vocabulary. (Formal et al. 2021, 2109.10086.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.models import locate, quiet

if TYPE_CHECKING:
    import torch


class SparseModel:
    """A `SparseEncoder`, from a folder or by hub name, on a GPU when there is one.

    `revision` says which weights it has. Raises what `ragib.models.locate` does, and `InputError`
    for a model that is not a `SparseEncoder`.
    """

    def __init__(self, name: str) -> None:
        library = require("sentence_transformers", "the learned sparse engine")
        folder, self.revision = locate(EncoderConfig(model=name))
        try:
            with quiet():
                self._encoder = library.SparseEncoder(
                    str(folder), local_files_only=True, model_kwargs={"use_safetensors": True}
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
