"""A blocking iterator as an async one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


async def pieces_from(start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Iterate over what `start` returns, on one thread of its own.

    The iterator is made, advanced and (when the consumer leaves early) closed on that thread, so
    it may hold locks that belong to a thread.
    """
    loop = asyncio.get_running_loop()
    end = object()
    with ThreadPoolExecutor(1) as worker:
        source = await loop.run_in_executor(worker, start)
        try:
            while (item := await loop.run_in_executor(worker, next, source, end)) is not end:
                yield item  # type: ignore[misc]
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                worker.submit(close).result()
