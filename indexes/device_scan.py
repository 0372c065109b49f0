"""Exact MaxSim over all passages on a GPU, whether or not their codes fit into its memory.

Codes stay on the card as far as there is room. The others stay in their mapped files and stream
through once a search: a thread copies the next slab into page-locked memory while the card works
on the one before. Beside the bus the card's arithmetic takes next to no time, so that a second
stream of work on the card would win nothing.

A slab is scored with the same integers as on a CPU (`ragib.indexes.maxsim`), by eight-bit products
whose largest are then taken; or by one fused kernel, where there is one (`ragib.indexes.fused`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require
from ragib.indexes.base import Mask, TopK
from ragib.indexes.fused import fused, offsets
from ragib.indexes.lowbit import unpack_middles
from ragib.indexes.maxsim import Block, largest, products, side_by_side, tiles
from ragib.indexes.topk import empty, rank

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float32]

_PURPOSE = "multi-vector search on a GPU"
_SLAB = 1 << 29
"""Values a slab: few enough for kernels that count bytes in 32 bits, many enough to fill a card."""

_TILE_PRODUCTS = 1 << 27
_SPARE = 16
"""Results beyond `k` that are fetched: rows of equal score come in any order from the card."""


@dataclass(frozen=True, slots=True)
class _Slab:
    """Passages of a block: their `rows`, and how many vectors each has, never falling.

    `ends`, `(n + 1,)`, and `scales`, `(n,)`, are on the device, `codes` too if it `stays` there.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    bits: int
    ends: Tensor
    scales: Tensor
    codes: Tensor
    stays: bool


class DeviceScanner:
    """Searches blocks on a torch device; see `top`.

    Parameters
    ----------
    blocks
        All passages, with codes in (mapped) memory.
    rows
        The row of each passage of each block.
    device
        Such as `cuda`; `cpu` does the same work.
    room
        Bytes of codes that may stay on the device; `held` says how many do.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        rows: Sequence[NDArray[np.int64]],
        device: str,
        room: int,
    ) -> None:
        self.device = device
        self.held = 0
        self._slabs: list[_Slab] = []
        for block, of_block in zip(blocks, rows, strict=True):
            if block.filled < len(block.counts):
                self._slabs += self._cut(block, of_block, room)

    def _cut(self, block: Block, rows: NDArray[np.int64], room: int) -> Iterator[_Slab]:
        torch = require("torch", _PURPOSE)
        filled = block.filled
        for first, last in tiles(
            block.counts[filled:], _SLAB * block.bits // (8 * block.codes.shape[1])
        ):
            a, b = filled + first, filled + last
            codes = block.codes[block.offsets[a] : block.offsets[b]]
            stays = self.held + codes.nbytes <= room
            if stays:
                self.held += codes.nbytes
                codes = codes.to(self.device, copy=True)
            counts = block.counts[a:b]
            scales = torch.from_numpy(block.scales[a:b]).to(self.device)
            ends = offsets(counts, self.device)
            yield _Slab(rows[a:b], counts, block.bits, ends, scales, codes, stays)

    def top(self, queries: list[Matrix], k: int, wanted: Mask) -> TopK:
        """Return the best `k` wanted rows of each query.

        Where more than 16 rows tie for the last place, any of them may be returned.

        Parameters
        ----------
        queries
            One `(v, d)` float32 array a query, each of at least one vector.
        k
            Results a query.
        wanted
            A flag for each row.
        """
        torch = require("torch", _PURPOSE)
        everything = bool(wanted.all())
        slabs = [slab for slab in self._slabs if everything or wanted[slab.rows].any()]
        slabs.sort(key=lambda slab: not slab.stays)
        streamed = [slab.codes for slab in slabs if not slab.stays]
        if not slabs:
            return empty(len(queries), k)
        scores, places, base = [], [], 0
        with torch.inference_mode():
            score = self._scorer(queries)
            codes = chain(
                (slab.codes for slab in slabs if slab.stays), stream(streamed, self.device)
            )
            for slab, here in zip(slabs, codes, strict=True):
                of_slab = score(slab, here)
                if not everything:
                    barred = torch.from_numpy(~wanted[slab.rows]).to(self.device)
                    of_slab.masked_fill_(barred, -torch.inf)
                best = of_slab.topk(min(k + _SPARE, len(slab.rows)))
                scores.append(best.values)
                places.append(best.indices + base)
                base += len(slab.rows)
            # Fetched once, since the card waits for what fetches.
            found = torch.cat(scores, 1).cpu().numpy(), torch.cat(places, 1).cpu().numpy()
        rows = np.concatenate([slab.rows for slab in slabs])[found[1]]
        return rank(rows, found[0], k)

    def _scorer(self, queries: list[Matrix]) -> Callable[[_Slab, Tensor], Tensor]:
        """Return what scores the passages of a slab: `(q, n)` float32, on the device."""
        torch = require("torch", _PURPOSE)
        kernel = fused(queries[0].shape[1], self.device)
        if kernel is not None:
            halves = torch.from_numpy(np.concatenate(queries)).to(self.device, torch.float16)
            lengths = [len(query) for query in queries]
            cuts = offsets(np.array(lengths), self.device)

            def by_kernel(slab: _Slab, codes: Tensor) -> Tensor:
                if slab.bits < 8:
                    codes = unpack_middles(codes, slab.bits)
                most = max(lengths), int(slab.counts[-1])
                scores: Tensor = kernel(halves, codes, cuts, slab.ends, *most)
                return scores * slab.scales

            return by_kernel
        coded, weights = side_by_side(queries)
        # A GPU multiplies by rows laid across, and in eights.
        wide = np.zeros((-(-len(coded) // 8) * 8, coded.shape[1]), np.int8)
        wide[: len(coded)] = coded
        matrix, weights = torch.from_numpy(wide).to(self.device).T, weights.to(self.device)

        def by_products(slab: _Slab, codes: Tensor) -> Tensor:
            sums, done = [], 0
            for first, last in tiles(slab.counts, _TILE_PRODUCTS // len(wide)):
                counts = slab.counts[first:last]
                lines = codes[done : done + int(counts.sum())]
                done += len(lines)
                if slab.bits < 8:
                    lines = unpack_middles(lines, slab.bits)
                best = largest(products(lines, matrix), counts)[:, : len(weights)]
                sums.append(best.double() @ weights)
            scores: Tensor = (torch.cat(sums).T * slab.scales).float()
            return scores

        return by_products


def on_gpu(blocks: Sequence[Block], rows: Sequence[NDArray[np.int64]]) -> DeviceScanner | None:
    """Put blocks on the GPU, up to half of its free memory; `None` where there is no GPU."""
    torch = require("torch", _PURPOSE)
    if not torch.cuda.is_available():
        return None
    return DeviceScanner(blocks, rows, "cuda", torch.cuda.mem_get_info()[0] // 2)


def stream(arrays: Sequence[Tensor], device: str) -> Iterator[Tensor]:
    """Give arrays on a device, one after another; the next is read while one is worked on.

    What is given is overwritten once the next but one is asked for.
    """
    torch = require("torch", _PURPOSE)
    if not arrays:
        return
    size = max(array.nbytes for array in arrays)
    locked = torch.device(device).type == "cuda"
    places = [torch.empty(size, dtype=torch.uint8, pin_memory=locked) for _ in range(2)]
    sent: list[Any] = [None, None]

    def read(number: int) -> Tensor:
        if sent[number % 2] is not None:
            sent[number % 2].synchronize()  # what lay there has arrived
        array = arrays[number]
        place: Tensor = places[number % 2][: array.nbytes].view(array.dtype).view(array.shape)
        with torch.inference_mode():
            return place.copy_(array)

    with ThreadPoolExecutor(1, "slabs") as reader:
        coming = reader.submit(read, 0)
        for number in range(len(arrays)):
            here = coming.result().to(device, non_blocking=True)
            if locked:
                sent[number % 2] = torch.cuda.Event()
                sent[number % 2].record()
            if number + 1 < len(arrays):
                coming = reader.submit(read, number + 1)
            yield here
