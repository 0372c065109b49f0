"""The multi-vector index: pooled token vectors a passage, codes of few bits, exact MaxSim.

Each pooled vector knows the characters of its tokens, so that a hit can say where it matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind, MultiVectorConfig
from ragib.indexes import packed, pooling
from ragib.indexes.base import Batch, Mask
from ragib.indexes.multivector_search import MultiVectorSearcher
from ragib.indexes.projection import project
from ragib.indexes.quantize import RESIDUAL_BITS

Matrix = NDArray[np.float32]


class MultiVectorEngine:
    """Token vectors of passages, searched by MaxSim.

    `projection` is the `(d, dim)` float32 matrix of `fit_projection`, or `None` where token
    vectors are indexed as they come. Needs torch, and SciPy to pool.
    """

    kind: Kind = "multivector"
    needs_dense = False
    needs_tokens = True

    def __init__(self, config: MultiVectorConfig, projection: Matrix | None) -> None:
        self._config = config
        self._projection = projection

    def encode(self, batch: Batch, out: Path) -> None:
        """Project, pool and code the token vectors of a batch.

        Raises
        ------
        InputError
            A passage has a vector that is not finite, or of the wrong length.
        """
        assert batch.encoded is not None
        assert batch.encoded.tokens is not None
        reduced = [
            project(tokens.vectors, self._projection, f"passage {passage.id}")
            for passage, tokens in zip(batch.passages, batch.encoded.tokens, strict=True)
        ]
        pooled = pooling.pool_batch(reduced, self._config.pool_factor)
        vectors, labels = [entry[0] for entry in pooled], [entry[1] for entry in pooled]
        spans = [tokens.spans for tokens in batch.encoded.tokens]
        finer = self._config.rescore > 0
        storage = self._config.storage
        packed.write(packed.pack(vectors, labels, spans, storage, finer=finer), out)

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Write one segment out of parts, leaving out the rows that `keep` does not flag."""
        packed.merge(parts, keep, self._config.storage, out)

    def open(self, segments: Sequence[Path], alive: Mask) -> MultiVectorSearcher:
        """Open segments for searching; `alive` flags the rows that are not deleted."""
        return MultiVectorSearcher(
            [packed.read(folder, self._config.storage) for folder in segments],
            alive,
            self._projection,
            self._config,
        )

    def describe(self) -> dict[str, Any]:
        """Return what the manifest records: how vectors were projected, pooled and coded."""
        shape = None if self._projection is None else list(self._projection.shape)
        return {
            "algorithm": "maxsim",
            "version": 2,
            "projection": shape,
            "pooling": {**pooling.ALGORITHM, "factor": self._config.pool_factor},
            "storage": self._config.storage,
            "residual_bits": RESIDUAL_BITS if self._config.rescore else 0,
        }
