"""Reading ahead of what search is about to look at in a mapped file.

Passages that codes or other kinds of index propose lie all over the file of vectors. Where that is
not in memory, touching them one by one waits for the disk each time, and the system reads many
pages around each. Here it is told of all of them at once and goes on reading while others are
still proposed and while the first are scored, as in Shrestha et al. 2024, "ESPN: Memory-Efficient
Multi-Vector Information Retrieval" (2312.05417). Pages stay the system's: memory is bounded by
what it can spare, and processes share them.
"""

from __future__ import annotations

import mmap
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.indexes.maxsim import ranges

FORGET = 10.0
"""Seconds after which pages that were asked for may have gone from memory again."""


class ReadAhead:
    """Has the system read lines of a mapped array; of any other array there is nothing to read.

    Asking costs about a microsecond a run of pages, even of those in memory, so that no page is
    asked for twice within ten seconds: of a file of a gigabyte, that is 3 % of a core at most.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self._map: Any = None
        whole: Any = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        if isinstance(whole.base, mmap.mmap) and array.size and hasattr(mmap, "MADV_WILLNEED"):
            self._map = whole.base
            self._first = array.ctypes.data - np.frombuffer(self._map, np.uint8).ctypes.data
            self._width = array.nbytes // len(array)
            self._asked = np.zeros(len(self._map) // mmap.PAGESIZE + 1, np.bool_)
            self._since = time.monotonic()

    def ask(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Have lines `starts[i]:stops[i]` read, without waiting; -1 stands for no line."""
        if self._map is None:
            return
        if time.monotonic() - self._since > FORGET:
            self._asked[:] = False
            self._since = time.monotonic()
        held = (stops > starts) & (starts >= 0)
        first = (self._first + starts[held] * self._width) // mmap.PAGESIZE
        last = (self._first + stops[held] * self._width - 1) // mmap.PAGESIZE
        pages = ranges(first, last - first + 1)
        pages = np.unique(pages[~self._asked[pages]])
        if len(pages) == 0:
            return
        self._asked[pages] = True
        gaps = np.flatnonzero(np.diff(pages) > 1)
        first, last = pages[np.append(0, gaps + 1)], pages[np.append(gaps, -1)]
        places = (first * mmap.PAGESIZE).tolist(), ((last + 1 - first) * mmap.PAGESIZE).tolist()
        for start, length in zip(*places, strict=True):
            self._map.madvise(mmap.MADV_WILLNEED, start, length)
