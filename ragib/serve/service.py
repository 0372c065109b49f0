"""What the endpoints of one server share, and the way each piece of work takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from ragib.pipeline import RAG
from ragib.serve.attending import attended
from ragib.serve.bodies import Model, read_body
from ragib.serve.following import Follower
from ragib.serve.gate import Gate
from ragib.serve.metrics import Metrics
from ragib.serve.problems import ApiError
from ragib.serve.settings import Settings

T = TypeVar("T")


@dataclass(slots=True)
class Service:
    """A pipeline that can be listened to, its limits, and what is counted.

    `follower` keeps its index at the current generation; `model` is the name it is offered by.
    `draining` says that the server is about to end, and `cut` how many requests were cut off by
    that.
    """

    rag: RAG
    follower: Follower
    settings: Settings
    gate: Gate
    metrics: Metrics
    model: str
    draining: bool = False
    cut: int = 0

    async def body(self, request: Request, model: type[Model]) -> Model:
        """Read a request's body; raises as `read_body`, and a 408 if it does not come."""
        try:
            async with asyncio.timeout(self.settings.deadline):
                return await read_body(request, model, self.settings.max_body)
        except TimeoutError:
            raise ApiError(
                408, "the request did not come", code="timeout", headers={"Connection": "close"}
            ) from None

    async def work(self, receive: Receive, task: Callable[[], Awaitable[T]]) -> T:
        """Do work when its turn comes; raises as `attended` and `Gate.slot`."""
        return await attended(receive, self._in_turn(task), self.settings.deadline)

    async def _in_turn(self, task: Callable[[], Awaitable[T]]) -> T:
        async with self.gate.slot() as waited:
            self.metrics.stage_seconds.labels("queue").observe(waited)
            await self.follower.follow()
            return await task()


def service_of(request: Request) -> Service:
    """Return the service that a request came to."""
    service: Service = request.app.state.service
    return service
