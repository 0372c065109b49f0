"""Ward's clustering of a few hundred vectors, in compiled loops or by SciPy: the same clusters.

The loops (`ragib.indexes.ward_loops`) do SciPy's arithmetic, operation by operation in double
precision, and decide as it does between equal distances (the neighbour before in the chain, else
the earliest) and how clusters are numbered: the two agree to the last bit, ties included. Only
where SciPy was compiled to fuse multiplications and additions (some builds for ARM) can distances
that are equal but for rounding go the other way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragib.errors import InputError, RagibError
from ragib.extras import installed, require
from ragib.indexes.ward_loops import compiled

Matrix = NDArray[np.float32]
Clusters = tuple[NDArray[np.int64], Matrix]
"""The cluster of each vector, `(t,)`, and the sums of the clusters' vectors, `(m, d)`."""

_PURPOSE = "pooling token vectors"

_PATIENCE = 6000
"""Passages of 128 tokens that SciPy clusters in the time it takes to compile the loops."""

_clustered = 0


def ward(vectors: Matrix, wanted: int) -> Clusters:
    """Cluster vectors by `by_scipy`, and by `by_numba` where that is installed and pays.

    Compiling takes two or three seconds in every process, so short work is done without: the
    loops are compiled once SciPy has taken as long as that. They are not kept on disk, where
    numba pickles what it compiles.
    """
    global _clustered
    if _clustered < _PATIENCE or not installed("numba"):
        _clustered += 1
        return by_scipy(vectors, wanted)
    return by_numba(vectors, wanted)


def by_scipy(vectors: Matrix, wanted: int) -> Clusters:
    """Cluster vectors by Ward's criterion on their condensed cosine distances.

    Parameters
    ----------
    vectors
        `(t, d)` float32, rows of unit length, t > 1.
    wanted
        How many clusters, from 1 to t - 1. The tree is cut at a distance, so where several merges
        share that distance there are fewer.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    hierarchy = require("scipy.cluster.hierarchy", _PURPOSE)
    distance = require("scipy.spatial.distance", _PURPOSE)
    apart = np.clip(1 - _products(vectors), 0, 2)
    tree = hierarchy.linkage(distance.squareform(apart, checks=False), method="ward")
    cut = hierarchy.fcluster(tree, t=wanted, criterion="maxclust")
    labels = cut.astype(np.int64) - 1
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors)
    return labels, sums


def by_numba(vectors: Matrix, wanted: int) -> Clusters:
    """Cluster vectors as `by_scipy` does, in loops that leave other threads running.

    Raises
    ------
    InputError
        A vector is not finite.
    RagibError
        The loops are defective: they would not end.
    """
    merge, cut, add = compiled()
    vectors = np.ascontiguousarray(vectors)
    low, high, height = merge(_products(vectors))
    if len(height) < len(vectors) - 1:
        raise RagibError(
            f"the clustering of {len(vectors)} token vectors does not end; "
            "report it, and uninstall numba to cluster with SciPy until it is mended"
        )
    order = np.argsort(height, kind="stable")
    labels, found = cut(low[order], high[order], height[order], wanted)
    return labels, add(vectors, labels, found)


def _products(vectors: Matrix) -> Matrix:
    """Multiply all vectors with each other, `(t, t)`.

    One way for both, so that they start from the same bits; only the half above the diagonal is
    read, since rounding need not leave the other the same.
    """
    products: Matrix = vectors @ vectors.T
    if not np.isfinite(products.diagonal().sum()):
        raise InputError("a token vector is not finite; check the encoder and its dtype")
    return products
