"""The forms in which token vectors are stored: eight bits a value, four or one.

Eight-bit codes are of the vectors as they are; of the others, the vectors are padded and turned
first (`ragib.indexes.rotation`), and so must be what they are multiplied with. With `finer`, three
more bits a value are kept beside the codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragib.config import TokenStorage
from ragib.indexes import lowbit
from ragib.indexes.quantize import (
    RESIDUAL_BITS,
    pack_levels,
    quantize,
    residual,
    restore,
    unpack_levels,
)
from ragib.indexes.rotation import rotation

BITS: dict[TokenStorage, int] = {"int8": 8, "int4": 4, "1bit": 1}


@dataclass(frozen=True, slots=True)
class Coded:
    """Vectors of `n` passages, coded.

    `codes` is `(t, d)` int8 or `(t, d * bits / 8)` uint8, `residual` `(t, ceil(3d / 8))` uint8 if
    finer bits are kept, `scales` `(n,)` float32.
    """

    codes: NDArray[np.int8] | NDArray[np.uint8]
    residual: NDArray[np.uint8] | None
    scales: NDArray[np.float32]


def width(dim: int, storage: TokenStorage) -> int:
    """Return how many dimensions are coded of `dim`."""
    return dim if storage == "int8" else lowbit.padded(dim, BITS[storage])


def turned(vectors: NDArray[np.float32], storage: TokenStorage) -> NDArray[np.float32]:
    """Bring vectors, `(t, d)` float32, into the space of the codes: `(t, width(d))` float32."""
    if storage == "int8":
        return vectors
    wide = width(vectors.shape[1], storage)
    # What is padded with zeros does not meet the last rows of the rotation.
    moved: NDArray[np.float32] = vectors @ rotation(wide)[: vectors.shape[1]]
    return moved


def encode(
    vectors: NDArray[np.float32],
    counts: NDArray[np.int64],
    storage: TokenStorage,
    *,
    finer: bool,
) -> Coded:
    """Code the unit vectors, `(t, d)` float32, of passages that have `counts` each, `(n,)`."""
    if storage == "int8":
        codes, scales = quantize(vectors, counts)
        fine = residual(vectors, codes, np.repeat(scales, counts)) if finer else None
        return Coded(codes, fine, scales)
    bits, more = BITS[storage], RESIDUAL_BITS if finer else 0
    cells, scales = lowbit.cut(turned(vectors, storage), counts, bits + more)
    levels = pack_levels(cells & np.uint8((1 << more) - 1)) if finer else None
    return Coded(lowbit.pack_cells(cells >> np.uint8(more), bits), levels, scales)


def decode(
    codes: NDArray[np.int8] | NDArray[np.uint8],
    levels: NDArray[np.uint8] | None,
    scales: NDArray[np.float32],
    storage: TokenStorage,
) -> NDArray[np.float32]:
    """Give back vectors, `(t, width(d))` float32, turned, as finely as they are kept.

    `scales` is `(t,)`: that of each vector's passage.
    """
    if storage == "int8":
        return restore(codes.view(np.int8), levels, scales)
    bits = BITS[storage]
    cells = lowbit.unpack_cells(codes.view(np.uint8), bits)
    if levels is not None:
        cells = cells << np.uint8(RESIDUAL_BITS) | unpack_levels(levels, cells.shape[1])
        bits += RESIDUAL_BITS
    return lowbit.restore_cells(cells, bits, scales)


def unit(storage: TokenStorage, *, finer: bool) -> int:
    """Return what a step of the codes alone is worth, in scales of a passage."""
    return 1 << RESIDUAL_BITS if finer and storage != "int8" else 1
