"""The page on `/`, for a person: three files that hold no data and run nothing but themselves."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of every response: no inline script or style, nothing foreign."""

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


def page_routes() -> list[Route]:
    """Return the routes of the page; its files are read once."""
    return [
        _route("/", "page.html"),
        _route("/page.css", "page.css"),
        _route("/page.js", "page.js"),
        Route("/favicon.ico", _nothing),
    ]


def _route(path: str, name: str) -> Route:
    content = files(__package__).joinpath(name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=kind)

    return Route(path, endpoint, name=name)


async def _nothing(request: Request) -> Response:
    """Spare the browser, which asks for an icon, an error in its console."""
    return Response(status_code=204)
