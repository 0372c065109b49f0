"""MaxSim over token vectors that a head projects and that may be pooled, with gradients.

The score of a question and a passage is the sum over the question's vectors of the largest product
with a vector of the passage (Khattab & Zaharia 2020, ColBERT, arXiv:2004.12832). With pooling
inside training the passage's vectors are those that an index would hold: which tokens go together
is found as the index finds it (`ragib.indexes.pooling`) and has no gradient, their means have, so
that the head learns vectors that cluster well (CRISP: Veneroso et al. 2025, arXiv:2505.11471).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.pooling import pool_batch

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float32]

_PURPOSE = "training"


def projected(states: Sequence[Matrix], projection: Tensor) -> tuple[Tensor, list[int]]:
    """Project token vectors and scale them to unit length.

    Parameters
    ----------
    states
        `(t, d)` each.
    projection
        `(d, dim)`.

    Returns
    -------
    tuple[Tensor, list[int]]
        The vectors of all texts, one text after another, and how many each has.
    """
    torch = require("torch", _PURPOSE)
    joined = torch.from_numpy(np.concatenate(states))
    vectors: Tensor = torch.nn.functional.normalize(joined @ projection, dim=-1)
    return vectors, [len(rows) for rows in states]


def pooled(vectors: Tensor, counts: Sequence[int], factor: float) -> tuple[Tensor, list[int]]:
    """Pool the vectors of passages as an index does; see `projected` for what goes in and out."""
    torch = require("torch", _PURPOSE)
    if factor == 1:
        return vectors, list(counts)
    passages = np.split(vectors.detach().numpy(), np.cumsum(counts)[:-1])
    found = pool_batch(passages, factor)
    sizes = [len(means) for means, _ in found]
    starts = [0, *accumulate(sizes)]
    homes = np.concatenate(
        [start + labels for start, (_, labels) in zip(starts, found, strict=False)]
    )
    sums = vectors.new_zeros(starts[-1], vectors.shape[1])
    means = sums.index_add(0, torch.from_numpy(homes), vectors)
    return torch.nn.functional.normalize(means, dim=-1), sizes


def maxsim(
    queries: Tensor, lengths: Sequence[int], vectors: Tensor, counts: Sequence[int]
) -> Tensor:
    """Score every passage for every question, `(q, n)`.

    Which vector is nearest is found without gradients, and only products with that one are kept
    for the way back: of a batch of 32 questions and 96 passages, one in 150.

    Parameters
    ----------
    queries, lengths
        `(sum of lengths, dim)`, the vectors of `q` questions, one question after another.
    vectors, counts
        `(sum of counts, dim)`, those of `n` passages, none of them empty.
    """
    torch = require("torch", _PURPOSE)
    with torch.no_grad():
        products = torch.split(queries @ vectors.T, list(counts), dim=1)
        starts = [0, *accumulate(counts)]
        nearest = torch.stack(
            [part.argmax(dim=1) + start for part, start in zip(products, starts, strict=False)],
            dim=1,
        )
    best = torch.einsum("qd,qnd->qn", queries, vectors[nearest])
    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    scores: Tensor = best.new_zeros(len(lengths), len(counts)).index_add(0, owners, best)
    return scores


def contrastive(scores: Tensor, targets: Sequence[int], golds: Tensor) -> Tensor:
    """Return the cross-entropy of choosing each question's passage among all of the batch.

    Parameters
    ----------
    scores
        `(q, n)`, scaled.
    targets
        The passage of each question.
    golds
        `(q, n)` bool: all that answer it; the others among these are left out.
    """
    torch = require("torch", _PURPOSE)
    chosen = torch.tensor(targets)
    others = golds.scatter(1, chosen[:, None], value=False)
    loss: Tensor = torch.nn.functional.cross_entropy(scores.masked_fill(others, -torch.inf), chosen)
    return loss


def margin_mse(scores: Sequence[Tensor], teacher: Sequence[Sequence[float]]) -> Tensor:
    """Return the mean squared error of margins between a passage and its hard negatives.

    After Hofstaetter et al. 2020, arXiv:2010.02666. `scores` and `teacher` hold, of each question,
    those of its passage and of its negatives, in this order.
    """
    torch = require("torch", _PURPOSE)
    ours = torch.cat([line[:1] - line[1:] for line in scores])
    theirs = torch.tensor([line[0] - other for line in teacher for other in line[1:]])
    loss: Tensor = torch.nn.functional.mse_loss(ours, theirs)
    return loss
