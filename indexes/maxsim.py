"""Exact MaxSim over all passages.

The score of a passage is the sum, over the query's vectors, of the largest dot product with any
of the passage's vectors (Khattab & Zaharia 2020, "ColBERT").

Vectors are eight-bit codes whose passage shares a scale, so products and their maximum stay in
integers and one multiplication a passage is left. Passages lie in the order of their vector
counts: equal counts make a tile a plain `(passages, vectors, queries)` block. Tiles fit the
cache, and every worker keeps to one thread: on busy cores, threads inside a small product spend
their time waiting for each other. Where the processor's eight-bit product is missing or
saturates, the same codes are multiplied in single precision, which is slower and as exact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.quantize import quantize

if TYPE_CHECKING:
    from torch import Tensor, device

_PURPOSE = "multi-vector search"
_TILE_PRODUCTS = 1 << 19
"""Products a tile: 2 MiB of 32-bit integers stay in the cache until they are reduced."""


@dataclass(frozen=True, slots=True)
class Block:
    """The coded vectors of `n` passages, in the order of their vector counts.

    `codes` is a `(t, d)` int8 tensor on the device that shall do the work, `counts` `(n,)` int64
    never falls and sums to `t`, `scales` is `(n,)` float32.
    """

    codes: Tensor
    counts: NDArray[np.int64]
    scales: NDArray[np.float32]


def scan(
    block: Block, queries: list[NDArray[np.float32]], wanted: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    """Score every wanted passage for every query.

    Parameters
    ----------
    block
        The passages.
    queries
        One `(v, d)` float32 array a query; at least one vector in all.
    wanted
        `(n,)` flags: the others are left out before anything is multiplied. `None` wants all.

    Returns
    -------
    NDArray[np.float32]
        `(q, n)`; -inf for passages that are not wanted or have no vectors.
    """
    torch = require("torch", _PURPOSE)
    scores = np.full((len(queries), len(block.counts)), -np.inf, np.float32)
    multiply, weights = _columns(queries, block.codes.device)
    offsets = np.concatenate([[0], np.cumsum(block.counts)])

    def work(tiles: list[tuple[int, int]]) -> None:
        with torch.inference_mode():
            for first, last in tiles:
                codes, counts = (
                    block.codes[offsets[first] : offsets[last]],
                    block.counts[first:last],
                )
                rows: slice | NDArray[np.int64] = slice(first, last)
                if wanted is not None and not wanted[first:last].all():
                    rows = first + np.flatnonzero(wanted[first:last])
                    counts = block.counts[rows]
                    lines = ranges(offsets[rows] - offsets[first], counts)
                    codes = codes[torch.from_numpy(lines).to(codes.device)]
                if len(counts):
                    best = torch.cat(_best(multiply(codes), counts))
                    # Summed in double precision, so that equal passages tie in any tile.
                    sums = (best.double() @ weights).cpu().numpy()
                    scores[:, rows] = (sums * block.scales[rows, None]).T

    tiles = list(_tiles(block.counts, offsets, _TILE_PRODUCTS // len(weights)))
    threads = torch.get_num_threads()
    if block.codes.is_cuda or threads == 1 or len(tiles) < 2 * threads:
        work(tiles)
    else:
        shares = [tiles[i :: 4 * threads] for i in range(4 * threads)]
        list(_pool(threads, os.getpid()).map(work, shares))
    return scores


def _columns(
    queries: list[NDArray[np.float32]], on: device
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Lay all `v` query vectors side by side.

    Returns
    -------
    tuple
        What multiplies codes, `(t, d)`, with all of them, `(t, v)`; and the weights, `(v, q)`,
        that sum products by query.
    """
    torch = require("torch", _PURPOSE)
    vectors = np.concatenate(queries)
    weights = np.zeros((len(vectors), len(queries)))
    owner = np.repeat(np.arange(len(queries)), [len(query) for query in queries])
    weights[np.arange(len(vectors)), owner] = 1
    if on.type != "cpu":
        matrix = torch.from_numpy(vectors).to(on, torch.float16).T.contiguous()
        return lambda codes: codes.half() @ matrix, torch.from_numpy(weights).to(on)
    codes, scales = quantize(vectors, np.ones(len(vectors), np.int64))
    weights *= scales[:, None]
    matrix = torch.from_numpy(np.ascontiguousarray(codes.T))
    if exact_int8(vectors.shape[1]):
        return lambda codes: torch._int_mm(codes, matrix), torch.from_numpy(weights)
    # Single precision holds these integers exactly, so both ways give the same scores.
    matrix = matrix.float()
    return lambda codes: codes.float() @ matrix, torch.from_numpy(weights)


def _tiles(
    counts: NDArray[np.int64], offsets: NDArray[np.int64], size: int
) -> Iterator[tuple[int, int]]:
    """Cut the passages that have vectors into runs of about `size` vectors."""
    first = int(np.searchsorted(counts, 0, side="right"))
    marks = np.arange(0, offsets[-1], max(size, 1))
    cuts = np.searchsorted(offsets, marks, side="left")
    cuts = np.unique(np.concatenate([[first], cuts[cuts > first], [len(counts)]]))
    return ((int(a), int(b)) for a, b in pairwise(cuts))


def _best(products: Tensor, counts: NDArray[np.int64]) -> list[Tensor]:
    """Take the largest of the products, `(t, v)`, of each passage; equal counts go together."""
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), len(counts)]
    found = []
    done = 0
    for a, b in pairwise(edges):
        width = int(counts[a])
        found.append(products[done : done + (b - a) * width].view(b - a, width, -1).amax(1))
        done += (b - a) * width
    return found


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write out the runs `start, start + 1, ...` of the given lengths, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    run: NDArray[np.int64] = np.arange(total) + np.repeat(starts - ends + counts, counts)
    return run


@cache
def exact_int8(dim: int) -> bool:
    """Say whether `torch._int_mm` multiplies `dim`-dimensional codes on this CPU without error.

    Without VNNI instructions its kernels add pairs of products in 16 bits and saturate; the
    largest codes there are bring that to light.
    """
    torch = require("torch", _PURPOSE)
    worst = torch.full((32, dim), 127, dtype=torch.int8)
    worst[::2] = -127
    try:
        found = torch._int_mm(worst, worst.T.contiguous())
    except RuntimeError:
        return False
    return bool(torch.equal(found.long(), worst.long() @ worst.T.long()))


@lru_cache(maxsize=1)
def _pool(size: int, process: int) -> ThreadPoolExecutor:
    """Start workers that keep to one thread each; a forked process starts its own."""
    torch = require("torch", _PURPOSE)
    ready = Barrier(size + 1)

    def single() -> None:
        torch.set_num_threads(1)
        ready.wait()

    pool = ThreadPoolExecutor(size, f"maxsim-{process}", initializer=single)
    for _ in range(size):
        pool.submit(int)
    ready.wait()
    # The setting reaches beyond the thread that makes it: give the others theirs back.
    torch.set_num_threads(size)
    return pool
