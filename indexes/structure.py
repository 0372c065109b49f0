"""Search structures of faiss beside the original vectors: what is built, and what it finds.

`sq8` is one byte a dimension; `hnsw` a graph (Malkov & Yashunin 2018, 1603.09320; M = 32,
efConstruction = 200).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.errors import IndexCorruptError
from ragib.extras import require
from ragib.indexes.base import Mask
from ragib.indexes.exact import Vectors, selector

HNSW_M = 32
HNSW_EF_CONSTRUCTION = 200

_HNSW_EF_SEARCH = 128
_CHUNK = 65_536


def build_structure(storage: str, vectors: Vectors, path: Path) -> None:
    """Build the structure of `sq8` or `hnsw` over `(n, d)` vectors and write it."""
    faiss = require("faiss", f"dense storage {storage!r}")
    width, metric = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    index: Any
    if storage == "sq8":
        index = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, metric)
    else:
        index = faiss.IndexHNSWFlat(width, HNSW_M, metric)
        index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    index.train(vectors)
    for start in range(0, len(vectors), _CHUNK):
        index.add(vectors[start : start + _CHUNK])
    faiss.write_index(index, str(path))


def read_structure(path: Path, vectors: Vectors) -> Any:  # noqa: ANN401
    """Map a structure into memory; the caller has checked the hash of the file.

    Raises
    ------
    IndexCorruptError
        It is not one over these vectors.
    """
    faiss = require("faiss", "a dense index with a structure")
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if (index.ntotal, index.d) != vectors.shape:
        raise IndexCorruptError(
            f"{path}: holds {index.ntotal} x {index.d} vectors, expected "
            f"{vectors.shape[0]} x {vectors.shape[1]}; build the index anew"
        )
    return index


def candidates(
    storage: str,
    index: Any,  # noqa: ANN401
    queries: Vectors,
    count: int,
    mask: Mask | None,
) -> NDArray[np.int64]:
    """Return about the best `count` allowed rows of each query, `(q, count)`, -1 where short."""
    faiss = require("faiss", f"dense storage {storage!r}")
    sel = selector(mask)
    parameters: Any
    if storage == "hnsw":
        parameters = faiss.SearchParametersHNSW(sel=sel, efSearch=max(_HNSW_EF_SEARCH, 2 * count))
    else:
        parameters = faiss.SearchParameters(sel=sel)
    rows: NDArray[np.int64] = index.search(np.ascontiguousarray(queries), count, params=parameters)[
        1
    ]
    return rows
