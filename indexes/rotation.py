"""A fixed random rotation, after which the values of any vector are spread alike.

Codes of few bits lose least on values that look as if drawn from one normal distribution. The
projection of an index does the opposite: it gathers what vectors have in common in its first
dimensions. So vectors are turned before they are coded, and queries likewise, which leaves all
products as they are. Random signs, a Hadamard transform and a random order, thrice, do what a
random orthogonal matrix does (Ailon & Chazelle 2009, "The Fast Johnson-Lindenstrauss Transform").
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 3


@cache
def rotation(dim: int) -> NDArray[np.float32]:
    """Return the rotation of row vectors, `(dim, dim)` float32; the same on every machine.

    Blocks as large as the largest power of two in `dim` are transformed.
    """
    size = dim & -dim
    blocks = np.kron(np.eye(dim // size), _hadamard(size))
    raw = np.random.PCG64(dim).random_raw((_ROUNDS, 2, dim))
    turned = np.eye(dim)
    for signs, order in raw:
        turned = (turned * np.where(signs >> np.uint64(63), 1.0, -1.0)) @ blocks
        turned = turned[:, np.argsort(order, kind="stable")]
    # All numbers up to here are whole, so nothing was rounded.
    matrix: NDArray[np.float32] = (turned / size ** (_ROUNDS / 2)).astype(np.float32)
    matrix.flags.writeable = False
    return matrix


def _hadamard(size: int) -> NDArray[np.float64]:
    """Write out Sylvester's matrix of a power of two: +1 and -1, orthogonal rows."""
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix
