"""Exact MaxSim over all passages.

The score of a passage is the sum, over the query's vectors, of the largest dot product with any
of the passage's vectors (Khattab & Zaharia 2020, "ColBERT").

Vectors are codes whose passage shares a scale, so products and their maximum stay in integers and
one multiplication a passage is left. Passages lie in the order of their vector counts: equal
counts make a tile a plain `(passages, vectors, queries)` block. Tiles fit the cache, and every
worker keeps to one thread: on busy cores, threads inside a small product spend their time waiting
for each other.

The work is done by the compiled loop of `ragib.indexes.vnni` where the processor has what it
needs; else by torch's eight-bit product; where that is missing or saturates, the same codes are
multiplied in single precision. The three give the same scores to the last bit. The loop reads
codes of one and four bits as they lie; the other two unpack them tile by tile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes import vnni
from ragib.indexes.lowbit import unpack_middles
from ragib.indexes.quantize import quantize

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = "multi-vector search"
_TILE_PRODUCTS = 1 << 19
"""Products a tile: 2 MiB of 32-bit integers stay in the cache until they are reduced."""

_LEAST_ROWS = 32
"""Rows below which codes are multiplied in single precision; a GPU wants more than 16."""


@dataclass(frozen=True, slots=True)
class Block:
    """The coded vectors of `n` passages, in the order of their vector counts.

    `codes` is a `(t, d)` int8 or, of fewer `bits` a value, a `(t, d * bits / 8)` uint8 tensor,
    `counts` `(n,)` int64 never falls and sums to `t`, `scales` is `(n,)` float32. `offsets`,
    `(n + 1,)`, are where each passage starts.
    """

    codes: Tensor
    counts: NDArray[np.int64]
    scales: NDArray[np.float32]
    bits: int = 8
    offsets: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        object.__setattr__(self, "offsets", offsets)

    @property
    def filled(self) -> int:
        """The first passage that has vectors."""
        return int(np.searchsorted(self.counts, 0, side="right"))


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
    scores = np.full((len(queries), len(block.counts)), -np.inf, np.float32)
    passages = np.arange(block.filled, len(block.counts))
    if wanted is not None:
        passages = passages[wanted[block.filled :]]
    if len(passages):
        scores[:, passages] = score(block, queries, passages)
    return scores


def score(
    block: Block, queries: list[NDArray[np.float32]], passages: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Score some passages for every query.

    Parameters
    ----------
    block
        All passages.
    queries
        One `(v, d)` float32 array a query; at least one vector in all.
    passages
        `(m,)` which of them, ascending, at least one; each has vectors.

    Returns
    -------
    NDArray[np.float32]
        `(q, m)`.
    """
    torch = require("torch", _PURPOSE)
    scores = np.empty((len(queries), len(passages)), np.float32)
    best, weights = _reducer(block, queries)

    def work(cuts: list[tuple[int, int]]) -> None:
        with torch.inference_mode():
            for first, last in cuts:
                part = passages[first:last]
                # Summed in double precision, so that equal passages tie in any tile.
                sums = (best(part).double() @ weights).numpy()
                scores[:, first:last] = (sums * block.scales[part, None]).T

    cuts = list(tiles(block.counts[passages], _TILE_PRODUCTS // len(weights)))
    threads = torch.get_num_threads()
    if threads == 1 or len(cuts) < 2 * threads:
        work(cuts)
    else:
        shares = [cuts[i :: 4 * threads] for i in range(4 * threads)]
        list(_pool(threads, os.getpid()).map(work, shares))
    return scores


def _reducer(
    block: Block, queries: list[NDArray[np.float32]]
) -> tuple[Callable[[NDArray[np.int64]], Tensor], Tensor]:
    """Lay all `v` query vectors side by side.

    Returns
    -------
    tuple
        What takes the largest product of passages `(n,)` with each of them, `(n, v)`; and the
        weights, `(v, q)` float64, that sum these by query.
    """
    torch = require("torch", _PURPOSE)
    codes, sums = side_by_side(queries)
    dim = codes.shape[1]
    if vnni.available(dim):
        address = block.codes.data_ptr()
        return (
            lambda rows: torch.from_numpy(
                vnni.best_products(
                    address, block.offsets[rows], block.counts[rows], codes, block.bits
                )
            )
        ), sums
    matrix = torch.from_numpy(np.ascontiguousarray(codes.T))
    return (lambda rows: largest(products(_gather(block, rows), matrix), block.counts[rows])), sums


def side_by_side(queries: list[NDArray[np.float32]]) -> tuple[NDArray[np.int8], Tensor]:
    """Code all `v` query vectors, each with a scale of its own.

    Returns
    -------
    tuple
        The codes, `(v, d)`; and the weights, `(v, q)` float64, that sum products by query.
    """
    vectors = np.concatenate(queries)
    codes, scales = quantize(vectors, np.ones(len(vectors), np.int64))
    weights = np.zeros((len(vectors), len(queries)))
    owner = np.repeat(np.arange(len(queries)), [len(query) for query in queries])
    weights[np.arange(len(vectors)), owner] = scales
    return codes, require("torch", _PURPOSE).from_numpy(weights)


def products(codes: Tensor, matrix: Tensor) -> Tensor:
    """Multiply int8 codes, `(t, d)`, with those of queries, `(d, v)`, on the device they are on.

    Single precision holds these integers exactly, so both ways give the same: `(t, v)`.
    """
    torch = require("torch", _PURPOSE)
    if len(codes) >= _LEAST_ROWS and exact_int8(codes.shape[1], codes.device.type):
        found: Tensor = torch._int_mm(codes, matrix)
        return found
    return codes.float() @ matrix.float()


def _gather(block: Block, rows: NDArray[np.int64]) -> Tensor:
    """Fetch the codes of passages; those of eight bits that lie side by side are not copied."""
    if len(rows) == rows[-1] - rows[0] + 1:
        codes = block.codes[block.offsets[rows[0]] : block.offsets[rows[-1] + 1]]
    else:
        torch = require("torch", _PURPOSE)
        lines = torch.from_numpy(ranges(block.offsets[rows], block.counts[rows]))
        codes = block.codes[lines]
    return codes if block.bits == 8 else unpack_middles(codes, block.bits)


def tiles(counts: NDArray[np.int64], size: int) -> Iterator[tuple[int, int]]:
    """Cut passages with `counts` vectors into runs of about `size` vectors."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    cuts = np.searchsorted(offsets, np.arange(0, offsets[-1], max(size, 1)), side="left")
    return ((int(a), int(b)) for a, b in pairwise(np.unique([*cuts, len(counts)])))


def largest(multiplied: Tensor, counts: NDArray[np.int64]) -> Tensor:
    """Take the largest of the products, `(t, v)`, of each passage; equal counts go together."""
    edges = [0, *(np.flatnonzero(np.diff(counts)) + 1).tolist(), len(counts)]
    found = []
    done = 0
    for a, b in pairwise(edges):
        width = int(counts[a])
        found.append(multiplied[done : done + (b - a) * width].view(b - a, width, -1).amax(1))
        done += (b - a) * width
    every: Tensor = require("torch", _PURPOSE).cat(found)
    return every


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write out the runs `start, start + 1, ...` of the given lengths, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    run: NDArray[np.int64] = np.arange(total) + np.repeat(starts - ends + counts, counts)
    return run


@cache
def exact_int8(dim: int, device: str = "cpu") -> bool:
    """Say whether `torch._int_mm` multiplies `dim`-dimensional codes on a device without error.

    Without VNNI instructions a CPU adds pairs of products in 16 bits and saturates; the largest
    codes there are bring that to light. A GPU wants dimensions in eights, and columns that are rows
    laid across.
    """
    torch = require("torch", _PURPOSE)
    worst = torch.full((_LEAST_ROWS + 5, dim), 127, dtype=torch.int8)
    worst[::2] = -127
    some = worst[:_LEAST_ROWS]
    expected = worst.long() @ some.long().T
    columns = some.T.contiguous() if device == "cpu" else some.to(device).T
    try:
        found = torch._int_mm(worst.to(device), columns)
    except RuntimeError:
        return False
    return bool(torch.equal(found.cpu().long(), expected))


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
