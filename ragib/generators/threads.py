"""A blocking iterator as an async one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


async def pieces_from(start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Iterate over what `start` returns, on one thread of its own.

    The iterator is made, advanced and (when the consumer leaves early) closed on that thread, so
    it may hold locks that belong to a thread. A consumer that leaves never waits for it, and nor
    does the end of the program: an iterator that hangs holds up nobody.
    """
    end = object()
    asked: SimpleQueue[asyncio.Future[Any] | None] = SimpleQueue()
    loop = asyncio.get_running_loop()
    threading.Thread(
        target=_serve, args=(start, end, asked, loop), name="ragib-pieces", daemon=True
    ).start()
    try:
        while True:
            future = loop.create_future()
            asked.put(future)
            if (item := await future) is end:
                return
            yield item
    finally:
        asked.put(None)


def _serve(
    start: Callable[[], Iterator[Any]],
    end: object,
    asked: SimpleQueue[asyncio.Future[Any] | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Advance the iterator once for every future in the queue, until there comes none."""
    source: Iterator[Any] | None = None
    with suppress(RuntimeError):  # the loop was closed, so nobody waits any more
        while (future := asked.get()) is not None:
            error: BaseException | None = None
            item = None
            try:
                source = start() if source is None else source
                item = next(source, end)
            except BaseException as raised:
                error = raised
            loop.call_soon_threadsafe(_settle, future, item, error)
    close = getattr(source, "close", None)
    if close is not None:
        with suppress(Exception):  # nobody is left to hear of it
            close()


def _settle(future: asyncio.Future[Any], item: object, error: BaseException | None) -> None:
    if future.done():  # the consumer did not wait
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(item)
