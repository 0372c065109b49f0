"""Token pooling: the vectors of a passage are clustered, and each cluster becomes one vector.

Ward's criterion on the condensed matrix of cosine distances, cut at a number of clusters, the
first token left alone, means scaled back to unit length (Clavié, Chaffin & Adams 2024, "Reducing
the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token Pooling"). The
clusters are those of `HierarchicalTokenPooling` in sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ragib.extras import installed, require
from ragib.indexes.ward import Clusters, Matrix, ward
from ragib.indexes.ward_batch import by_torch

Cluster = Callable[[Sequence[Matrix], Sequence[int]], list[Clusters]]
"""Takes the vectors of passages and how many clusters each is to have."""

Pooled = tuple[Matrix, NDArray[np.int64]]
"""Pooled vectors, `(m, d)` float32 of unit length, and the number of the one that each token went
into, `(t,)` int64."""

PROTECTED = 1
"""Leading tokens that are never pooled."""

ALGORITHM = {"algorithm": "ward-condensed-cosine", "version": 1, "protected": PROTECTED}
"""What the manifest of an index records; a change of the clusters raises the version."""


def normalised(vectors: Matrix) -> Matrix:
    """Scale rows to unit length; rows of zeros stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Matrix = vectors / np.maximum(length, np.float32(1e-12))
    return scaled


def clustered(passages: Sequence[Matrix], wanted: Sequence[int]) -> list[Clusters]:
    """Cluster on a GPU where torch has one, else one passage after another by `ward`."""
    if installed("torch") and require("torch", "pooling token vectors").cuda.is_available():
        return by_torch(passages, wanted, "cuda")
    return one_by_one(ward)(passages, wanted)


def one_by_one(cluster: Callable[[Matrix, int], Clusters]) -> Cluster:
    """Make a way to cluster one passage, such as `by_scipy`, one to cluster several."""
    return lambda passages, wanted: list(map(cluster, passages, wanted))


def pool(vectors: Matrix, factor: float) -> Pooled:
    """Pool the token vectors of one passage; see `pool_batch`."""
    return pool_batch([vectors], factor)[0]


def pool_batch(
    passages: Sequence[Matrix], factor: float, cluster: Cluster = clustered
) -> list[Pooled]:
    """Pool the token vectors of passages.

    Parameters
    ----------
    passages
        `(t, d)` float32 each, rows of unit length, finite, all of one `d`.
    factor
        Tokens a pooled vector, on average; 1 pools nothing. May be fractional.
    cluster
        The way to cluster; all give the same clusters, see `ragib.indexes.ward` and
        `ragib.indexes.ward_batch`.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    rests = [len(vectors) - PROTECTED for vectors in passages]
    wanted = [max(int(rest // factor), 1) for rest in rests]
    # What has few enough already, or nothing that may be pooled, stays as it is.
    rows = [row for row, rest in enumerate(rests) if wanted[row] < rest]
    found = cluster([passages[row][PROTECTED:] for row in rows], [wanted[row] for row in rows])
    pooled = [(vectors, np.arange(len(vectors), dtype=np.int64)) for vectors in passages]
    if not rows:
        return pooled
    ends = np.cumsum([len(sums) for _, sums in found])
    # All passages are scaled at once.
    means = np.split(normalised(np.concatenate([sums for _, sums in found])), ends[:-1])
    for row, (labels, _), mean in zip(rows, found, means, strict=True):
        pooled[row] = (
            np.concatenate([passages[row][:PROTECTED], mean]),
            np.concatenate([np.arange(PROTECTED), PROTECTED + labels]),
        )
    return pooled
