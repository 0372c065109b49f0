"""Codes of four bits or one a value, for unit vectors that have been turned at random.

Once turned (`ragib.indexes.rotation`), values are close to normal with variance 1/d, so one cell
width suits all of them, the one that is best for a normal variable (Max 1960, "Quantizing for
Minimum Distortion"):

    u = clip(floor(x / step) + 2**(b-1), 0, 2**b - 1),   x ~ scale * (2u + 1 - 2**b)

The scale of a passage is <x, x> / <x, 2u + 1 - 2**b> over all its vectors, which leaves products
with any other vector without bias (Gao & Long 2024, "RaBitQ", 2405.12497). Finer bits halve every
cell in turn, so codes are the leading bits of finer ones and share their scale.

Bytes are laid out for the loop of `ragib.indexes.vnni`: of each four bytes, the lowest b bits hold
four neighbouring values, the next b bits the next four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragib.extras import require

if TYPE_CHECKING:
    from torch import Tensor

_STEPS = {1: 1.596, 4: 0.3352, 7: 0.0569}
"""Cell width by bits, in standard deviations."""


def padded(dim: int, bits: int) -> int:
    """Return the dimensions that are coded of `dim`: as many as fill whole runs of four bytes."""
    return -(-dim * bits // 32) * 32 // bits


def cut(
    vectors: NDArray[np.float32], counts: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find the cell of every value.

    Parameters
    ----------
    vectors
        `(t, d)` float32, turned.
    counts
        `(n,)` vectors of each passage, `t` in all.
    bits
        1, 4 or 7.

    Returns
    -------
    tuple
        Cells `(t, d)` uint8, and scales `(n,)` float32, 0 for passages without vectors.
    """
    half = 1 << (bits - 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    squares = np.bincount(owner, np.square(vectors).sum(axis=1), len(counts))
    spread = np.sqrt(squares / np.maximum(counts * vectors.shape[1], 1))
    steps = np.maximum(spread * _STEPS[bits], 1e-12).astype(np.float32)
    floors = np.floor(vectors / steps[owner, None])
    cells = np.clip(floors + half, 0, 2 * half - 1).astype(np.uint8)
    along = np.einsum("td,td->t", vectors, _middles(cells, bits))
    products = np.bincount(owner, along, len(counts))
    scales = np.divide(squares, products, out=np.zeros(len(counts)), where=products > 0)
    return cells, scales.astype(np.float32)


def _middles(cells: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    middles: NDArray[np.float32] = cells.astype(np.float32) * 2 + np.float32(1 - (1 << bits))
    return middles


def restore_cells(
    cells: NDArray[np.uint8], bits: int, scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Give back the middles of cells, `(t, d)` float32; `scales` is `(t,)`."""
    values = _middles(cells, bits)
    values *= scales[:, None]
    return values


def pack_cells(cells: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack cells `(t, d)` of 1 or 4 bits into `(t, d * bits / 8)`; `d` as `padded` returns it."""
    fields = 8 // bits
    count, steps = len(cells), cells.shape[1] // (4 * fields)
    runs = cells.reshape(count, steps, fields, 4)
    packed = np.zeros((count, steps, 4), np.uint8)
    for field in range(fields):
        packed |= runs[:, :, field] << np.uint8(bits * field)
    return packed.reshape(count, 4 * steps)


def unpack_cells(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Undo `pack_cells`."""
    fields = 8 // bits
    runs = packed.reshape(len(packed), packed.shape[1] // 4, 1, 4)
    shifts = (bits * np.arange(fields, dtype=np.uint8))[:, None]
    cells = (runs >> shifts) & np.uint8((1 << bits) - 1)
    return cells.reshape(len(packed), packed.shape[1] * fields)


def unpack_middles(packed: Tensor, bits: int) -> Tensor:
    """Unpack `(t, w)` uint8 codes, on their device, into `(t, 8w / bits)` int8 `2u + 1 - 2**b`."""
    torch = require("torch", "multi-vector search")
    fields = 8 // bits
    runs = packed.view(len(packed), packed.shape[1] // 4, 1, 4)
    shifts = torch.arange(fields, dtype=torch.uint8, device=packed.device)[:, None] * bits
    cells = (runs >> shifts) & ((1 << bits) - 1)
    middles: Tensor = (cells.view(len(packed), packed.shape[1] * fields).to(torch.int8) * 2) + (
        1 - (1 << bits)
    )
    return middles
