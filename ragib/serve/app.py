"""The application: which path leads where, and how what goes wrong is told."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import ragib
from ragib.errors import RagibError
from ragib.pipeline import RAG
from ragib.serve.completions import completions, models
from ragib.serve.finding import compress, search
from ragib.serve.following import Follower
from ragib.serve.gate import Gate
from ragib.serve.guard import Guard, error_response
from ragib.serve.metrics import CONTENT_TYPE, Metrics
from ragib.serve.page import page_routes
from ragib.serve.problems import ApiError, ClientGone, as_api_error, of_status
from ragib.serve.service import Service, service_of
from ragib.serve.settings import Settings
from ragib.serve.values import JSON
from ragib.serve.watching import observed

MODEL = "ragib"
"""The name the pipeline is offered by; a request may use any other."""


def build_app(rag: RAG, settings: Settings) -> Starlette:
    """Return the ASGI application that serves a pipeline.

    It does not own the pipeline and never closes it, but moves its index on to new generations.
    `app.state.service` is its `Service`.
    """
    gate = Gate(settings.concurrency, settings.queue)
    follower = Follower(rag.retriever.index)
    service = Service(observed(rag), follower, settings, gate, Metrics(gate), MODEL)
    app = Starlette(
        routes=[
            *page_routes(),
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/models", models),
            Route("/search", search, methods=["POST"]),
            Route("/compress", compress, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(Guard, service=service)],
        exception_handlers={
            ApiError: _failed,
            RagibError: _failed,
            ClientGone: _gone,
            HTTPException: _refused,
        },
    )
    app.state.service = service
    return app


async def health(request: Request) -> Response:
    """Say that the server can answer; 503 once it is about to end."""
    service = service_of(request)
    status = "draining" if service.draining else "ok"
    told = {
        "status": status,
        "version": ragib.__version__,
        "working": service.gate.working,
        "waiting": service.gate.waiting,
    }
    return JSON(told, 503 if service.draining else 200)


async def metrics(request: Request) -> Response:
    """Return what is counted, for Prometheus."""
    return Response(service_of(request).metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def _failed(request: Request, error: Exception) -> Response:
    return error_response(as_api_error(error))


async def _gone(request: Request, error: Exception) -> Response:
    """Count a client that left; 499, after nginx, is sent to nobody."""
    return Response(status_code=499)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = of_status(error.status_code, error.detail)
    refused.headers |= dict(error.headers or {})
    return error_response(refused)
