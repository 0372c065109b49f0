"""MaxSim straight from its definition: loops, float64, no tricks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def maxsim(
    passages: Sequence[NDArray[np.float32]], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Score each passage, `(v, d)`, for a query, `(w, d)`; passages without vectors get -inf."""
    scores = np.full(len(passages), -np.inf)
    for number, passage in enumerate(passages):
        if len(passage):
            scores[number] = sum(
                max(float(np.dot(v.astype(float), w.astype(float))) for v in passage) for w in query
            )
    return scores


def maxsim_einsum(
    passages: NDArray[np.float32], mask: NDArray[np.bool_], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Do the same on padded passages, `(n, v, d)` with a mask `(n, v)`: padding scores -inf."""
    products = np.einsum("nvd,wd->nvw", passages, query)
    products[~mask] = -np.inf
    best: NDArray[np.float32] = products.max(axis=1)
    return best.sum(axis=1)
