"""Reaching a Qdrant server: one address, one key, and errors that say what to do.

The HTTP interface alone is used, so that there is one address to open and to guard. Redirects are
not followed, and nothing is asked of the server but what a command needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ragib.addresses import api_key, host_of, is_loopback
from ragib.errors import StoreError
from ragib.extras import refuse_offline, require

_PURPOSE = "the qdrant store"
_TIMEOUT = 60
"""Seconds a request may take; writes are waited for until they are durable."""

_REFUSED = (401, 403)
_GONE = 404
_TOO_LARGE = 413
_REASON = 200
"""Characters shown of what went wrong."""


@dataclass(frozen=True, slots=True)
class Server:
    """An opened connection: the client of `qdrant_client`, its address, where its key is from."""

    client: Any
    url: str
    key_env: str


def connect(url: str, key_env: str) -> Server:
    """Prepare to talk to a server; nothing is sent yet.

    Parameters
    ----------
    url
        Such as `http://127.0.0.1:6333`; without a port it is 6333. The only address that is used.
    key_env
        The environment variable with the API key, sent with every request if it is set.

    Raises
    ------
    OfflineError
        The network is switched off.
    ConfigError
        The address or the key cannot be used.
    MissingExtraError
        qdrant-client is not installed.
    """
    host = host_of(url, "url", "http://127.0.0.1:6333")
    refuse_offline(f"the Qdrant server {host}")
    library = require("qdrant_client", _PURPOSE)
    key = api_key(key_env)
    client = library.QdrantClient(
        url=url,
        timeout=_TIMEOUT,
        headers={"api-key": key} if key else None,
        check_compatibility=False,  # it would ask the server from a thread of its own
        # A proxy from the environment must not see what goes to this very machine.
        trust_env=not is_loopback(host),
    )
    return Server(client, url, key_env)


def models() -> Any:  # noqa: ANN401
    """Return the module with the types of requests."""
    return require("qdrant_client.models", _PURPOSE)


@contextmanager
def explained(server: Server) -> Iterator[None]:
    """Turn what the client raises inside into a `StoreError` of one line."""
    kinds = require("qdrant_client.http.exceptions", _PURPOSE)
    busy = require("qdrant_client.common.client_exceptions", _PURPOSE)
    try:
        yield
    except kinds.UnexpectedResponse as error:
        raise StoreError(f"{server.url}: {_refusal(error, server.key_env)}") from None
    except kinds.ResponseHandlingException as error:
        source = error.source
        reason = _shown(f"{type(source).__name__}: {source}".rstrip(": "))
        if isinstance(source, ValueError):
            raise StoreError(
                f"{server.url}: it does not answer as Qdrant does ({reason}); check the address"
            ) from None
        raise StoreError(
            f"{server.url}: the server cannot be reached ({reason}); start it or check the "
            "address, then run the same command again"
        ) from None
    except busy.ResourceExhaustedResponse as error:
        raise StoreError(
            f"{server.url}: the server is busy ({error}); run the same command again in "
            f"{error.retry_after_s} s"
        ) from None


def _refusal(error: Any, key_env: str) -> str:  # noqa: ANN401
    if error.status_code in _REFUSED:
        return (
            f"the server refuses the API key (status {error.status_code}); put one that may read "
            f"and write into the environment variable {key_env}"
        )
    if error.status_code == _TOO_LARGE:
        return "a request is too large for the server; raise its service.max_request_size_mb"
    try:
        said = json.loads(error.content)["status"]["error"]
    except (ValueError, KeyError, TypeError):
        said = error.content.decode("utf-8", "replace") or error.reason_phrase
    said = _shown(str(said))
    if error.status_code == _GONE:
        said += "; if a later push has replaced it, open the index again"
    return f"the server answers with status {error.status_code}: {said}"


def _shown(text: str) -> str:
    """Put what a server says on one line, cut short and without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_REASON]
