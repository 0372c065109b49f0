"""A training-free projection of token vectors: the subspace that keeps most of their products.

MaxSim compares vectors by their dot product, so what has to survive is the second moment, not
the variance: the data are not centred. The leading right singular vectors of the sample minimise
the mean squared error of the reconstruction among all projections of that rank (Eckart & Young
1936).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragib.errors import InputError
from ragib.indexes.pooling import normalised


def fit_projection(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Fit an orthonormal projection to a sample of token vectors.

    Parameters
    ----------
    vectors
        `(n, d)` float32 with `d > dim`; rows of unit length weigh the same.
    dim
        Dimensions to keep.

    Returns
    -------
    NDArray[np.float32]
        `(d, dim)`, orthonormal columns, the most important first. Signs are fixed by making the
        largest entry of each column positive, so that equal samples give equal projections.

    Raises
    ------
    InputError
        There are no vectors, some are not finite, or there is nothing to reduce.
    """
    count, width = vectors.shape
    if count == 0:
        raise InputError("the sample for the token projection is empty: no passage has a token")
    if not 1 <= dim < width:
        raise InputError(f"token vectors of {width} dimensions cannot be reduced to {dim}")
    moment = np.zeros((width, width))
    for start in range(0, count, 65536):
        block = vectors[start : start + 65536].astype(np.float64)
        moment += block.T @ block
    if not np.isfinite(moment).all():
        raise InputError("the sample for the token projection holds vectors that are not finite")
    columns = np.linalg.eigh(moment)[1][:, ::-1][:, :dim]
    peaks = columns[np.abs(columns).argmax(axis=0), np.arange(dim)]
    return (columns * np.where(peaks < 0, -1.0, 1.0)).astype(np.float32)


def project(
    vectors: NDArray[np.float32], projection: NDArray[np.float32] | None, what: str
) -> NDArray[np.float32]:
    """Check token vectors and project them; rows come out with unit length.

    Parameters
    ----------
    vectors
        `(t, d)` float32.
    projection
        `(d, dim)` float32, if any.
    what
        Whose they are, for error messages.

    Raises
    ------
    InputError
        A vector is not finite, or of another length than the projection takes.
    """
    if projection is not None and vectors.shape[1] != len(projection):
        raise InputError(
            f"{what}: token vectors have {vectors.shape[1]} dimensions, the index expects "
            f"{len(projection)}; use the encoder it was built with"
        )
    if projection is not None:
        vectors = vectors @ projection
    if not np.isfinite(vectors).all():
        raise InputError(f"{what}: a token vector is not finite; check the encoder and its dtype")
    return normalised(vectors)
