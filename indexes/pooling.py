"""Token pooling: the vectors of a passage are clustered, and each cluster becomes one vector.

Ward's criterion on the condensed matrix of cosine distances, cut at a number of clusters, the
first token left alone, means scaled back to unit length (Clavié, Chaffin & Adams 2024, "Reducing
the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token Pooling"). The
clusters are those of `HierarchicalTokenPooling` in sentence-transformers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require

PROTECTED = 1
"""Leading tokens that are never pooled."""

ALGORITHM = {"algorithm": "ward-condensed-cosine", "version": 1, "protected": PROTECTED}
"""What the manifest of an index records; a change of the clusters raises the version."""


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit length; rows of zeros stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(length, np.float32(1e-12))
    return scaled


def pool(
    vectors: NDArray[np.float32], factor: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pool the token vectors of one passage.

    Parameters
    ----------
    vectors
        `(t, d)` float32, rows of unit length, finite.
    factor
        Tokens a pooled vector, on average; 1 pools nothing. May be fractional.

    Returns
    -------
    tuple
        The pooled vectors, `(m, d)` float32 of unit length, and for each token the number of the
        vector that it went into, `(t,)` int64.
    """
    count = len(vectors)
    clusters = max(int((count - PROTECTED) // factor), 1)
    if clusters >= count - PROTECTED:
        return vectors, np.arange(count, dtype=np.int64)
    rest = vectors[PROTECTED:]
    hierarchy = require("scipy.cluster.hierarchy", "pooling token vectors")
    distance = require("scipy.spatial.distance", "pooling token vectors")
    apart = np.clip(1 - rest @ rest.T, 0, 2)
    tree = hierarchy.linkage(distance.squareform(apart, checks=False), method="ward")
    cut = hierarchy.fcluster(tree, t=clusters, criterion="maxclust")
    # Ties in the distances can give fewer clusters than were asked for.
    found, inverse = np.unique(cut, return_inverse=True)
    sums = np.zeros((len(found), vectors.shape[1]), np.float32)
    np.add.at(sums, inverse, rest)
    labels = np.concatenate([np.arange(PROTECTED), PROTECTED + inverse])
    return np.concatenate([vectors[:PROTECTED], normalised(sums)]), labels
