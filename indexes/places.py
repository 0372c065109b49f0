"""Where the tokens of a passage stand in its text, and the vector each went into, bit by bit.

Of each token three numbers are kept: its vector, the characters from the end of the token before
it to its start, and its length; 0 for a token without a place. In each passage every one of the
three takes as many bits as the largest there needs (frame of reference coding), after four bytes
that say how many. Of English a token takes some 12 bits, of which 6 are its vector's number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_HEAD = 4
"""Bytes in front: from where gaps are counted, and the bits of each of the three numbers."""

_FROM_END, _FROM_START = 0, 1


def pack_places(labels: NDArray[np.int64], spans: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Pack the tokens of one passage.

    A token that starts before the one in front of it does is taken to start where that one does.

    Parameters
    ----------
    labels
        `(m,)` the vector of each token, not negative.
    spans
        `(m, 2)` its characters, `(-1, -1)` for a token without a place.

    Returns
    -------
    NDArray[np.uint8]
        `(b,)`; empty for a passage without tokens.
    """
    if not len(labels):
        return np.zeros(0, np.uint8)
    placed = spans[:, 0] >= 0
    starts = np.maximum.accumulate(np.where(placed, spans[:, 0], 0).astype(np.int64))
    lengths = np.where(placed, np.maximum(spans[:, 1] - starts, 0), 0)
    origin = _FROM_END
    gaps = np.diff(starts, prepend=0) - np.concatenate([[0], lengths[:-1]])
    if gaps.min() < 0:  # tokens overlap, as the bytes of one character do
        origin, gaps = _FROM_START, np.diff(starts, prepend=0)
    columns = (labels, gaps, lengths)
    widths = [int(column.max()).bit_length() for column in columns]
    bits = np.concatenate(
        [(c[:, None] >> np.arange(w)) & 1 for c, w in zip(columns, widths, strict=True)], axis=1
    )
    head = np.array([origin, *widths], np.uint8)
    return np.concatenate([head, np.packbits(bits.astype(np.uint8))])


def unpack_places(
    packed: NDArray[np.uint8], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give back the labels `(m,)` and spans `(m, 2)` of the `count` tokens of a passage."""
    if not count:
        return np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    origin, *widths = packed[:_HEAD].tolist()
    total = sum(widths)
    bits = np.unpackbits(packed[_HEAD:], count=count * total).reshape(count, total)
    parts = np.split(bits.astype(np.int64), np.cumsum(widths)[:-1], axis=1)
    labels, gaps, lengths = (part @ (1 << np.arange(part.shape[1])) for part in parts)
    if origin == _FROM_END:
        gaps[1:] += lengths[:-1]
    starts = np.cumsum(gaps)
    spans = np.stack([starts, starts + lengths], axis=1)
    spans[lengths == 0] = -1
    return labels, spans
