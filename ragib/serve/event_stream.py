"""Server-sent events, in the dialect of OpenAI: JSON after `data:`, and `[DONE]` at the end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ragib.serve.problems import ClientGone, as_api_error, shutting_down
from ragib.serve.service import Service
from ragib.serve.values import encoded

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the pieces back
]


class Writer:
    """Sends events; the response starts with the first, so that an error before it has a status."""

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send

    async def write(self, value: object) -> None:
        """Send one value as an event."""
        await self._data(encoded(value))

    async def done(self) -> None:
        """Say that all has been sent."""
        await self._data(b"[DONE]")
        await self.close()

    async def close(self) -> None:
        """End the response; without `done` before, it broke off."""
        await self._send({"type": "http.response.body", "body": b""})

    async def _data(self, data: bytes) -> None:
        if not self.started:
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            self.started = True
        message = b"data: " + data + b"\n\n"
        await self._send({"type": "http.response.body", "body": message, "more_body": True})


class EventStream(Response):
    """A response whose events are written by `produce` when its turn comes.

    An error that comes after the first event is the last one, and `[DONE]` does not follow.
    """

    def __init__(self, service: Service, produce: Callable[[Writer], Awaitable[None]]) -> None:
        self.background = None
        self._service = service
        self._produce = produce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run as an ASGI application; raises what goes wrong before the first event."""
        writer = Writer(send)
        try:
            await self._service.work(receive, lambda: self._produce(writer))
        except ClientGone:
            raise
        except asyncio.CancelledError:
            if writer.started:
                await writer.write(shutting_down().body)
                await writer.close()
            raise
        except Exception as error:
            if not writer.started:
                raise
            await writer.write(as_api_error(error).body)
            await writer.close()
