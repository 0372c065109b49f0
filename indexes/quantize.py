"""Eight-bit codes for unit vectors, and a few finer bits for those that are looked at twice.

All vectors of a passage share one scale, so that the largest product over a passage can be taken
in integers: `x ~ scale * code`, `scale = max |x| / 127`. What rounding lost lies within half a
step either way and is kept as one of `n = 2**bits` levels, by its middle:
`x ~ scale * (code - 1/2 + (level + 1/2) / n)`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RESIDUAL_BITS = 3
_STEPS = 127
_LEVELS = 2**RESIDUAL_BITS


def quantize(
    vectors: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Code vectors, `(t, d)` float32, with a scale for each group of `counts` rows.

    Returns
    -------
    tuple
        Codes `(t, d)` int8 in -127..127, and scales `(n,)` float32, 0 for groups without rows.
    """
    scales = np.zeros(len(counts), np.float32)
    filled = np.flatnonzero(counts)
    if len(filled):
        starts = np.concatenate([[0], np.cumsum(counts[filled])[:-1]])
        peaks = np.maximum.reduceat(np.abs(vectors).max(axis=1), starts)
        scales[filled] = np.maximum(peaks, np.float32(1e-12)) / _STEPS
    codes = np.rint(vectors / np.repeat(scales, counts)[:, None]).astype(np.int8)
    return codes, scales


def residual(
    vectors: NDArray[np.float32], codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Code what rounding lost, packed to `(t, ceil(bits * d / 8))` uint8; `scales` is `(t,)`."""
    lost = vectors / scales[:, None] - codes
    return pack_levels(np.clip(np.floor((lost + 0.5) * _LEVELS), 0, _LEVELS - 1).astype(np.uint8))


def pack_levels(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack levels `(t, d)` of three bits each into `(t, ceil(3d / 8))`."""
    bits = (levels[:, :, None] >> np.arange(RESIDUAL_BITS, dtype=np.uint8)) & 1
    return np.packbits(bits.reshape(len(levels), RESIDUAL_BITS * levels.shape[1]), axis=1)


def unpack_levels(packed: NDArray[np.uint8], dim: int) -> NDArray[np.uint8]:
    """Undo `pack_levels`."""
    bits = np.unpackbits(packed, axis=1, count=RESIDUAL_BITS * dim)
    levels = np.zeros((len(packed), dim), np.uint8)
    for bit in range(RESIDUAL_BITS):
        levels |= bits[:, bit::RESIDUAL_BITS] << np.uint8(bit)
    return levels


def restore(
    codes: NDArray[np.int8], packed: NDArray[np.uint8] | None, scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Give back the vectors, `(t, d)` float32, as finely as they were kept."""
    values = codes.astype(np.float32)
    if packed is not None:
        values += unpack_levels(packed, codes.shape[1]) * np.float32(1 / _LEVELS)
        values += np.float32(0.5 / _LEVELS - 0.5)
    values *= scales[:, None]
    return values
