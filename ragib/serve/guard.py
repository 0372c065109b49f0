"""What every request passes: access, counting, headers, and a last net for errors."""

from __future__ import annotations

import asyncio
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragib.serve.access import check_access
from ragib.serve.page import POLICY
from ragib.serve.problems import ApiError, as_api_error, shutting_down
from ragib.serve.service import Service
from ragib.serve.values import JSON

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Wraps an ASGI application; a request always gets a whole response, or a broken one at most.

    Once the server is about to end, every response closes its connection, so that a client does
    not send into one that goes away.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run as an ASGI application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, begin, status = self._service, perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if service.draining:
                    headers["Connection"] = "close"
            await send(message)

        with service.metrics.in_flight.track_inprogress():
            try:
                check_access(scope["path"], Headers(scope=scope), service.settings.keys)
                await self._app(scope, receive, watched)
            except asyncio.CancelledError:
                # Only the server's end cancels a request; what it is told is all it will get.
                service.cut += 1
                if not status:
                    await error_response(shutting_down())(scope, receive, watched)
            except Exception as error:
                if status:
                    raise
                await error_response(as_api_error(error))(scope, receive, watched)
            finally:
                route = getattr(scope.get("route"), "path", "other")
                service.metrics.requests.labels(route, status).inc()
                service.metrics.request_seconds.labels(route).observe(perf_counter() - begin)


def error_response(error: ApiError) -> JSON:
    """Return the response that an error is."""
    return JSON(error.body, error.status, error.headers)
