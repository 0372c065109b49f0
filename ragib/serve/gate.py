"""So much at once, so much waiting, and no more.

What would wait too long is turned away at the door, where that costs nothing (backpressure): the
client is told when to come back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from ragib.serve.problems import ApiError

_LONGEST = 60
_WEIGHT = 0.1


class Gate:
    """Lets `slots` requests in at once and `queue` more wait, first come, first served.

    Of one event loop. `working` and `waiting` count requests.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.working = 0
        self.waiting = 0
        self._slots = slots
        self._queue = queue
        self._free = asyncio.Semaphore(slots)
        self._seconds = 1.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold a slot; gives the seconds that were waited for it.

        Raises
        ------
        ApiError
            429, with `Retry-After`: the queue is full.
        """
        if self._free.locked() and self.waiting >= self._queue:
            raise ApiError(
                429,
                f"the server is busy: {self.working} requests are worked on and {self.waiting} "
                "wait",
                code="server_busy",
                headers={"Retry-After": str(self.retry_after())},
            )
        begin = perf_counter()
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.working += 1
        entered = perf_counter()
        try:
            yield entered - begin
        finally:
            self.working -= 1
            self._free.release()
            self._seconds += _WEIGHT * (perf_counter() - entered - self._seconds)

    def retry_after(self) -> int:
        """Return in how many seconds the queue will be worked off, going by recent requests."""
        return min(_LONGEST, max(1, math.ceil(self._seconds * (1 + self.waiting) / self._slots)))
