"""One vector a passage: exact search, or a faiss structure with exact scores for what it finds.

The original vectors are always kept, whatever the storage: they give exact scores to the
candidates of a structure, so that the scores of all segments compare, they answer where a filter
leaves few rows, and they are what compaction merges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ragib.config import DenseConfig, Kind
from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes.base import Batch, Mask, Queries, TopK
from ragib.indexes.exact import Vectors, cuda_holds, search_exact, search_torch
from ragib.indexes.structure import (
    HNSW_EF_CONSTRUCTION,
    HNSW_M,
    build_structure,
    candidates,
    read_structure,
)
from ragib.indexes.topk import empty, merge, rank, shift

VECTORS = "vectors.npy"
STRUCTURE = "structure.faiss"

_CHUNK = 65_536
_QUERIES_AT_ONCE = 256
# Under a strict filter a graph walk finds little and a scan of what is allowed is cheap.
_SCAN_ROWS = 10_000
_SCAN_SHARE = 0.05


class DenseEngine:
    """The dense index: `vectors.npy` `(n, d)` float32 (unit rows for cosine) and a structure."""

    kind: Kind = "dense"
    needs_dense = True
    needs_tokens = False

    def __init__(self, config: DenseConfig) -> None:
        self.config = config

    def encode(self, batch: Batch, out: Path) -> None:
        """Write the vectors of a batch.

        Raises
        ------
        InputError
            A vector holds NaN or infinity; the message names the passage.
        """
        if batch.encoded is None or batch.encoded.dense is None:
            raise InputError("the dense index needs dense vectors of its passages")
        vectors = np.asarray(batch.encoded.dense, np.float32)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            name = batch.passages[int(bad[0])].id
            raise InputError(
                f"passage {name!r}: its vector is not finite; the encoder may overflow in half "
                "precision: set index.encoder.dtype=float32"
            )
        np.save(out / VECTORS, self._scaled(vectors))

    def merge(self, parts: Sequence[Path], keep: Sequence[Mask | None], out: Path) -> None:
        """Write the kept vectors of all parts, and the structure over them."""
        opened = [_read(part) for part in parts]
        widths = {vectors.shape[1] for vectors in opened}
        if len(widths) > 1:
            raise InputError(
                f"vectors of {sorted(widths)} dimensions do not go into one dense index; "
                "build it anew with one encoder"
            )
        count = sum(
            len(vectors) if flags is None else int(flags.sum())
            for vectors, flags in zip(opened, keep, strict=True)
        )
        merged = np.lib.format.open_memmap(
            out / VECTORS, mode="w+", dtype=np.float32, shape=(count, max(widths, default=0))
        )
        row = 0
        for vectors, flags in zip(opened, keep, strict=True):
            for chunk in _chunks(vectors, flags):
                merged[row : row + len(chunk)] = chunk
                row += len(chunk)
        merged.flush()
        if self.config.storage != "flat" and count:
            build_structure(self.config.storage, merged, out / STRUCTURE)

    def open(self, segments: Sequence[Path], alive: Mask) -> DenseSearcher:
        """Map the segments into memory."""
        opened: list[_Segment] = []
        start = 0
        for folder in segments:
            segment = _Segment(folder, _read(folder), start)
            start += len(segment.vectors)
            opened.append(segment)
        return DenseSearcher(self, opened, alive)

    def describe(self) -> dict[str, Any]:
        """Return storage, metric and the parameters of the structure."""
        parameters: dict[str, Any] = {}
        if self.config.storage == "hnsw":
            parameters = {"m": HNSW_M, "ef_construction": HNSW_EF_CONSTRUCTION}
        return {"storage": self.config.storage, "metric": self.config.metric, **parameters}

    def queries(self, queries: Queries) -> Vectors:
        """Return the query vectors `(q, d)` in the form in which passages are stored."""
        if queries.encoded is None or queries.encoded.dense is None:
            raise InputError("dense search needs dense vectors of its queries")
        vectors = np.asarray(queries.encoded.dense, np.float32)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(f"query {queries.texts[int(bad[0])]!r}: its vector is not finite")
        return self._scaled(vectors)

    def _scaled(self, vectors: Vectors) -> Vectors:
        if self.config.metric == "dot":
            return vectors
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)
        return scaled


@dataclass
class _Segment:
    folder: Path
    vectors: Vectors
    start: int

    @cached_property
    def structure(self) -> Any:  # noqa: ANN401
        path = self.folder / STRUCTURE
        return read_structure(path, self.vectors) if path.exists() else None

    @cached_property
    def on_gpu(self) -> Any:  # noqa: ANN401
        if not cuda_holds(self.vectors.nbytes):
            return None
        torch = require("torch", "dense search on a GPU")
        return torch.from_numpy(np.array(self.vectors)).to("cuda")


@dataclass
class DenseSearcher:
    """Opened vectors; every score is an exact float32 inner product."""

    engine: DenseEngine
    segments: Sequence[_Segment]
    alive: Mask

    def search(self, queries: Queries, k: int, allowed: Mask | None) -> TopK:
        """Return the best `k` rows of each query; see `Searcher.search`."""
        vectors = self.engine.queries(queries)
        mask = self.alive if allowed is None else self.alive & allowed
        found = empty(len(vectors), k)
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            here = slice(start, start + _QUERIES_AT_ONCE)
            best = self._search_some(vectors[here], k, mask)
            found.rows[here], found.scores[here] = best.rows, best.scores
        return found

    def _search_some(self, queries: Vectors, k: int, mask: Mask) -> TopK:
        found = [empty(len(queries), k)]
        for segment in self.segments:
            count, width = segment.vectors.shape
            part = mask[segment.start : segment.start + count]
            if not part.any():
                continue
            if queries.shape[1] != width:
                raise InputError(
                    f"the query vectors have {queries.shape[1]} dimensions and the index has "
                    f"{width}; search with the encoder it was built with"
                )
            result = self._search_segment(segment, queries, k, None if part.all() else part)
            found.append(shift(result, segment.start))
        return merge(found, k)

    def _search_segment(
        self, segment: _Segment, queries: Vectors, k: int, mask: Mask | None
    ) -> TopK:
        if self.engine.config.storage == "flat":
            if segment.on_gpu is not None:
                return search_torch(segment.on_gpu, queries, k, mask)
            return search_exact(segment.vectors, queries, k, mask)
        total = len(segment.vectors)
        count = total if mask is None else int(mask.sum())
        few = mask is not None and count < max(_SCAN_ROWS, _SCAN_SHARE * total)
        if segment.structure is None or few:
            return search_exact(segment.vectors, queries, k, mask)
        return self._search_structure(segment, queries, k, mask, count)

    def _search_structure(
        self, segment: _Segment, queries: Vectors, k: int, mask: Mask | None, count: int
    ) -> TopK:
        config = self.engine.config
        wanted = min(count, k * config.refine if config.storage == "rabitq" else k)
        rows = candidates(config.storage, segment.structure, queries, wanted, mask)
        scores = np.empty(rows.shape, np.float32)
        for i, query in enumerate(queries):
            scores[i] = segment.vectors[rows[i]] @ query
        found = rank(rows, scores, k)
        # A filtered graph walk may come back short; what it missed is found by a scan.
        short = np.flatnonzero((found.rows >= 0).sum(axis=1) < min(k, count))
        if len(short):
            scanned = search_exact(segment.vectors, queries[short], k, mask)
            found.rows[short], found.scores[short] = scanned.rows, scanned.scores
        return found


def _read(folder: Path) -> Vectors:
    vectors: Vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return vectors


def _chunks(vectors: Vectors, keep: Mask | None) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _CHUNK):
        chunk = vectors[start : start + _CHUNK]
        yield chunk if keep is None else chunk[keep[start : start + _CHUNK]]
