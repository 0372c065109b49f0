"""Async work from synchronous code, whether or not an event loop already runs here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; inside a running loop (a notebook) on a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as worker:
        return worker.submit(copy_context().run, asyncio.run, work).result()


def iterate(source: AsyncIterator[T]) -> Generator[T, None, None]:
    """Iterate over an async iterator; leaving early closes it.

    All of it runs on one thread of its own, so that a loop running here is no hindrance.
    """
    end = object()

    async def step() -> T | object:
        return await anext(source, end)

    async def close() -> None:
        aclose = getattr(source, "aclose", None)
        if aclose is not None:
            await aclose()

    with ThreadPoolExecutor(1) as worker:
        runner = worker.submit(asyncio.Runner).result()
        try:
            while (item := worker.submit(runner.run, step()).result()) is not end:
                yield item  # type: ignore[misc]
        finally:
            worker.submit(runner.run, close()).result()
            worker.submit(runner.close).result()
