"""Work for a client: until it is done, the deadline has passed, or the client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from ragib.serve.problems import ApiError, ClientGone

T = TypeVar("T")


async def attended(receive: Receive, work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return what `work` does; cancel it if nobody can use that any more.

    Parameters
    ----------
    receive
        Of the request, whose body has been read: what comes next is that the client left.
    work
        Cancelled, and waited for, before this returns otherwise than with its result.
    seconds
        Until the deadline.

    Raises
    ------
    ApiError
        504: the deadline has passed. Also whatever `work` raises.
    ClientGone
        The client closed the connection.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGone
        raise ApiError(
            504, f"no answer within the deadline of {seconds:g} s", code="deadline_exceeded"
        )
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
