"""The loops of Ward's clustering: merges by a chain of nearest neighbours, the cut of their tree.

The chain of nearest neighbours (Murtagh 1983) ends in two that are nearest to each other; they
are merged, at once and for good, since with Ward's criterion no later merge comes between them
(Müllner 2011, "Modern hierarchical, agglomerative clustering algorithms", 1109.2378). The
distance of their union to a third cluster is that of Lance & Williams (1967),

    d(i, xy)^2 = ((ni + nx) d(i, x)^2 + (ni + ny) d(i, y)^2 - ni d(x, y)^2) / (ni + nx + ny).

SciPy's `linkage` does the same in general form; here rows are contiguous, vectorised, and packed
once half of them are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require


@cache
def compiled() -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Compile the three loops; the types of their arguments are settled by the first call."""
    numba = require("numba", "pooling token vectors")
    # Python's error model checks every division for zero, and no loop is vectorised.
    jit = numba.njit(nogil=True, error_model="numpy")
    return jit(_merges), jit(_cut), jit(_sums)


def _merges(
    products: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Merge until one cluster is left.

    Returns
    -------
    tuple
        In the order of the chain, `(t - 1,)` each: a vector of either cluster of a merge, and
        their distance. Fewer where a chain grew longer than there are clusters, which cannot be:
        every step of it is shorter than the one before.
    """
    count = len(products)
    apart = np.empty((count, count))
    for i in range(count):
        apart[i, i] = np.inf
        for j in range(i + 1, count):
            far = np.float32(1) - products[i, j]
            apart[i, j] = apart[j, i] = min(max(far, np.float32(0)), np.float32(2))
    # Distances are ordered as their bits are, and a minimum of integers is taken in vectors. That
    # holds for what is not negative: a cluster that went into another is infinitely far from all,
    # since a distance left behind would be updated to the root of a negative number, whose bits
    # come before those of any distance.
    bits = apart.view(np.int64)
    infinite = np.int64(0x7FF0000000000000)
    size = np.ones(count)
    gone = np.zeros(count, np.bool_)
    name = np.arange(count)
    chain = np.empty(count, np.int64)
    low, high = np.empty(count - 1, np.int64), np.empty(count - 1, np.int64)
    height = np.empty(count - 1)
    width, length = count, 0
    for merge in range(count - 1):
        if 2 * (count - merge) <= width:
            width = 0
            for i in range(len(gone)):
                if not gone[i]:
                    column = 0
                    for j in range(len(gone)):
                        if not gone[j]:
                            apart[width, column] = apart[i, j]
                            column += 1
                    for j in range(length):
                        if chain[j] == i:
                            chain[j] = width
                    size[width], name[width] = size[i], name[i]
                    width += 1
            gone = np.zeros(width, np.bool_)
        if length == 0:
            while gone[length]:
                length += 1
            chain[0], length = length, 1
        while True:
            x = chain[length - 1]
            row = bits[x]
            nearest = infinite
            for i in range(width):
                nearest = min(nearest, row[i])
            if length > 1 and row[chain[length - 2]] == nearest:
                break
            if length == count - merge:
                return low[:merge], high[:merge], height[:merge]
            for i in range(width):
                if row[i] == nearest:
                    chain[length] = i
                    break
            length += 1
        length -= 2
        y = chain[length]
        if x > y:
            x, y = y, x
        between = apart[x, y]
        low[merge], high[merge], height[merge] = name[x], name[y], between
        gone[x] = True
        both = size[x] + size[y]
        one, other = apart[y], apart[x]
        for i in range(width):
            share = 1.0 / (both + size[i])
            one[i] = np.sqrt(
                (size[i] + size[x]) * share * other[i] * other[i]
                + (size[i] + size[y]) * share * one[i] * one[i]
                - size[i] * share * between * between
            )
        one[y] = np.inf
        size[y] = both
        for i in range(width):
            apart[i, y] = one[i]
            apart[i, x] = np.inf
    return low, high, height


def _cut(
    low: NDArray[np.int64], high: NDArray[np.int64], height: NDArray[np.float64], wanted: int
) -> tuple[NDArray[np.int64], int]:
    """Cut the tree of merges, sorted by height, at the lowest height that leaves few enough.

    Clusters are numbered as they are met from the root: at every node first the branches below
    it, smaller number first, then its leaves.
    """
    count = len(height) + 1
    kept = count - wanted
    while kept < count - 1 and height[kept] == height[kept - 1]:
        kept += 1
    parent = np.arange(2 * count - 1)
    child = np.empty((count - 1, 2), np.int64)
    for i in range(count - 1):
        for side, node in enumerate((low[i], high[i])):
            while parent[node] != node:
                parent[node] = parent[parent[node]]
                node = parent[node]
            parent[node] = count + i
            child[i, side] = node
    number = np.empty(2 * count - 1, np.int64)
    stack = np.empty(2 * count, np.int64)
    stack[0], top, found = 2 * count - 2, 1, 0
    while top:
        top -= 1
        node = stack[top]
        if node < count + kept:
            number[node] = found
            found += 1
            continue
        for leaf in (True, False):
            left, right = child[node - count]
            for below in (max(left, right), min(left, right)):
                if (below < count) == leaf:
                    stack[top] = below
                    top += 1
    for i in range(kept - 1, -1, -1):
        number[child[i, 0]] = number[child[i, 1]] = number[count + i]
    return number[:count].copy(), found


def _sums(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], found: int
) -> NDArray[np.float32]:
    """Add up the vectors of each cluster, in their order."""
    sums = np.zeros((found, vectors.shape[1]), np.float32)
    for i in range(len(vectors)):
        into = sums[labels[i]]
        for j in range(vectors.shape[1]):
            into[j] += vectors[i, j]
    return sums
