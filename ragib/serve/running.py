"""Running a server until it is told to end, and ending it without losing a request.

On SIGTERM or SIGINT the socket is closed first, so that new clients are refused. Connections that
are open go on for a moment, with `Connection: close` on every response, so that a client that was
just about to use one again is still answered. Then idle ones are closed, and what is in flight
has the grace period.
"""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

import uvicorn
from starlette.applications import Starlette

from ragib.pipeline import RAG
from ragib.serve.app import build_app
from ragib.serve.service import Service
from ragib.serve.settings import Settings
from ragib.serve.workers import Workers

_LINGER = 1.0
_TICK = 0.02
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a server ended: requests that it `cut` off, and work for nobody that is `stuck`."""

    cut: int
    stuck: int


class Server(uvicorn.Server):
    """A server for one application, that lets open connections linger before it ends."""

    def __init__(self, app: Starlette) -> None:
        self._service: Service = app.state.service
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=math.ceil(self._service.settings.grace),
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the socket, let connections linger, then end as uvicorn does."""
        self._service.draining = True
        await asyncio.sleep(0)  # takes in what the socket has accepted by now
        for server in self.servers:
            server.close()
        end = monotonic() + min(_LINGER, self._service.settings.grace)
        while self.server_state.connections and monotonic() < end and not self.force_exit:
            await asyncio.sleep(_TICK)
        await super().shutdown(sockets)


def serve(rag: RAG, settings: Settings, listener: socket.socket) -> Ended:
    """Serve a pipeline on a listening socket until SIGTERM or SIGINT; a second SIGINT hurries.

    To be called on the main thread. The pipeline stays open. If work is stuck, the process has
    threads that may never end: only `os._exit` ends it then.
    """
    app = build_app(rag, settings)
    workers = Workers(settings.concurrency)
    with _handled_signals(), asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(workers)
        runner.run(Server(app).serve(sockets=[listener]))
    end = monotonic() + _LINGER
    while workers.busy and monotonic() < end:
        sleep(_TICK)
    return Ended(app.state.service.cut, workers.busy)


@contextmanager
def _handled_signals() -> Iterator[None]:
    """Have the signals that end the server end nothing else.

    Uvicorn raises them once more when it is done, which would kill a process that has ended well.
    """
    before = {one: signal.signal(one, lambda *_: None) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
