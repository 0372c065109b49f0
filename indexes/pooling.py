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

from ragib.indexes.ward import Clusters, Matrix, ward

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


def pool(vectors: Matrix, factor: float) -> Pooled:
    """Pool the token vectors of one passage; see `pool_batch`."""
    return pool_batch([vectors], factor)[0]


def pool_batch(
    passages: Sequence[Matrix],
    factor: float,
    cluster: Callable[[Matrix, int], Clusters] = ward,
) -> list[Pooled]:
    """Pool the token vectors of passages.

    Parameters
    ----------
    passages
        `(t, d)` float32 each, rows of unit length, finite, all of one `d`.
    factor
        Tokens a pooled vector, on average; 1 pools nothing. May be fractional.
    cluster
        Takes vectors and a number of clusters; the ways in `ragib.indexes.ward` all give the same.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    clusters = [_cluster(vectors, factor, cluster) for vectors in passages]
    sums = [found[1] for found in clusters if found is not None]
    ends = np.cumsum([len(part) for part in sums])
    # All passages are scaled at once.
    means = iter(np.split(normalised(np.concatenate(sums)), ends[:-1])) if sums else iter(())
    return [
        (vectors, np.arange(len(vectors), dtype=np.int64))
        if found is None
        else (
            np.concatenate([vectors[:PROTECTED], next(means)]),
            np.concatenate([np.arange(PROTECTED), PROTECTED + found[0]]),
        )
        for vectors, found in zip(passages, clusters, strict=True)
    ]


def _cluster(
    vectors: Matrix, factor: float, cluster: Callable[[Matrix, int], Clusters]
) -> Clusters | None:
    """Cluster what may be pooled of a passage; `None` if that leaves it as it is."""
    rest = len(vectors) - PROTECTED
    wanted = max(int(rest // factor), 1)
    return cluster(vectors[PROTECTED:], wanted) if wanted < rest else None
