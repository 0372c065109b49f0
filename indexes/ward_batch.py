"""Ward's clustering of many passages at once, in torch: for token vectors beside a GPU.

A GPU is slow at following one chain and fast at looking at everything, so here the nearest two
clusters of every passage are merged in each step, found among all distances. With Ward's criterion
that gives the tree of the chain (`ragib.indexes.ward`), but of merges at distances that are equal,
or equal but for rounding, another may come first: then clusters differ from SciPy's. Distances are
kept squared, as the formula of Lance & Williams (1967) has them:

    d(i, xy)^2 = ((ni + nx) d(i, x)^2 + (ni + ny) d(i, y)^2 - ni d(x, y)^2) / (ni + nx + ny).

A passage that is done merges a row of its own that is far from everything with itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes.ward import Clusters, Matrix

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = "pooling token vectors"

_DISTANCES = 2**24
"""Distances held at a time, of eight bytes: 1,000 passages of 128 tokens."""


def by_torch(
    passages: Sequence[Matrix], wanted: Sequence[int], device: str = "cpu"
) -> list[Clusters]:
    """Cluster the vectors of passages, each as `by_scipy` of `ragib.indexes.ward` does.

    Clusters are numbered in the order of their last vectors, and summed in double precision.

    Parameters
    ----------
    passages
        `(t, d)` float32 each, rows of unit length, t > 1, all of one `d`.
    wanted
        How many clusters of each, from 1 to t - 1; fewer where several merges share the distance
        at which the tree is cut.
    device
        Where torch works, such as `cuda`.

    Raises
    ------
    InputError
        A vector is not finite.
    """
    counts = [len(vectors) for vectors in passages]
    order = sorted(range(len(passages)), key=lambda i: -counts[i])
    found: dict[int, Clusters] = {}
    for first, last in pairwise(_cuts([counts[i] for i in order])):
        group = order[first:last]
        results = _clusters([passages[i] for i in group], [wanted[i] for i in group], device)
        found.update(zip(group, results, strict=True))
    return [found[i] for i in range(len(passages))]


def _cuts(counts: Sequence[int]) -> Iterator[int]:
    """Cut passages, longest first, into groups whose padded distances can be held."""
    start = 0
    for end, _ in enumerate(counts):
        if end > start and (end - start + 1) * (counts[start] + 1) ** 2 > _DISTANCES:
            yield start
            start = end
    yield start
    if counts:
        yield len(counts)


def _clusters(passages: Sequence[Matrix], wanted: Sequence[int], device: str) -> Iterator[Clusters]:
    torch = require("torch", _PURPOSE)
    counts = [len(vectors) for vectors in passages]
    padded = np.zeros((len(passages), max(counts), passages[0].shape[1]), np.float32)
    for row, vectors in zip(padded, passages, strict=True):
        row[: len(vectors)] = vectors
    with torch.inference_mode():
        # In double precision, so that the device's settings for single precision do not matter.
        vectors = torch.from_numpy(padded).to(device).double()
        if not vectors.isfinite().all():
            raise InputError("a token vector is not finite; check the encoder and its dtype")
        numbers = _numbers(_merged(_apart(vectors, counts), counts, wanted))
        clusters = torch.arange(max(wanted), device=device)
        sums = (numbers[:, None] == clusters[:, None]).double() @ vectors
        labels = numbers.cpu().numpy()
        sums = sums.float().cpu().numpy()
    for row, total, count in zip(labels, sums, counts, strict=True):
        found = row[:count].max() + 1
        yield row[:count], total[:found]


def _apart(vectors: Tensor, counts: Sequence[int]) -> Tensor:
    """Square the cosine distances of `(n, t, d)` vectors: `(n, t + 1, t + 1)`.

    The last row and column, those of padding, and the distance of a vector to itself are infinite.
    """
    torch = require("torch", _PURPOSE)
    passages, width, _ = vectors.shape
    half = (1 - (vectors @ vectors.mT).float()).clamp(0, 2).double().triu(1)
    place = torch.arange(width, device=vectors.device)
    real = place < torch.tensor(counts, device=vectors.device)[:, None]
    real = real[:, None] & real[:, :, None] & (place != place[:, None])
    apart = vectors.new_full((passages, width + 1, width + 1), torch.inf)
    apart[:, :width, :width].copy_((half + half.mT).square().masked_fill_(~real, torch.inf))
    return apart


def _merged(apart: Tensor, counts: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Merge the nearest two of every passage until there are few enough.

    Returns
    -------
    Tensor
        `(n, t)` the last vector of the cluster of each; that of padding is itself.
    """
    torch = require("torch", _PURPOSE)
    passages, width, _ = apart.shape
    spare = width - 1
    every = torch.arange(passages, device=apart.device)
    left = torch.tensor(counts, device=apart.device)
    enough = torch.tensor(wanted, device=apart.device)
    size = apart.new_ones(passages, width)
    last = apart.new_full((passages,), -1)
    labels: Tensor = torch.arange(spare, device=apart.device).repeat(passages, 1)
    steps = max(count - few for count, few in zip(counts, wanted, strict=True))
    for step in range(spare):
        # The first of equal distances, row by row, so that x comes before y.
        between, where = apart.flatten(1).min(dim=1)
        going = (left > enough) | (between == last)
        # Asking makes the device wait, so it is not asked while some passage must go on.
        if step >= steps and not going.any():
            break
        x, y = (torch.where(going, at, spare) for at in (where // width, where % width))
        sx, sy = size[every, x, None], size[every, y, None]
        weighed = (size + sx) * apart[every, x] + (size + sy) * apart[every, y]
        joined = (weighed - size * between[:, None]) / (size + (sx + sy))
        joined[every, y] = torch.inf
        apart[every, y] = joined
        apart[every, :, y] = joined
        apart[every, x] = torch.inf
        apart[every, :, x] = torch.inf
        size[every, y] = torch.where(going, (sx + sy)[:, 0], 1)
        labels = torch.where(labels == x[:, None], y[:, None], labels)
        left -= going.long()
        last = torch.where(going, between, last)
    return labels


def _numbers(labels: Tensor) -> Tensor:
    """Count the clusters of every passage, `(n, t)`, from 0 in the order of their last vectors."""
    torch = require("torch", _PURPOSE)
    kept = labels == torch.arange(labels.shape[1], device=labels.device)
    numbers: Tensor = (kept.long().cumsum(dim=1) - 1).gather(1, labels)
    return numbers
