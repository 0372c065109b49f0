"""Errors as an OpenAI client expects them: a status, and an object that says what was wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from ragib.errors import GenerationError, IndexDirError, InputError, OfflineError, RagibError

_log = logging.getLogger(__name__)

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
          404: "not_found_error", 429: "rate_limit_error"}  # fmt: skip


class ApiError(Exception):
    """A request that gets no answer, and why.

    Parameters
    ----------
    status
        The HTTP status.
    message
        For the person who reads it.
    code
        For the program that does, as in `"invalid_api_key"`.
    param
        The field of the request that is to blame.
    headers
        That go with the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        kind = "server_error" if status >= 500 else _TYPES.get(status, _TYPES[400])
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


class ClientGone(Exception):
    """Nobody waits for the response any more."""


def bad_request(message: str, param: str | None = None) -> ApiError:
    """Say what is wrong with a request."""
    return ApiError(400, message, code="invalid_value", param=param)


def shutting_down() -> ApiError:
    """Say that the server ends before the answer is there."""
    return ApiError(
        503,
        "the server is shutting down",
        code="shutting_down",
        headers={"Retry-After": "5", "Connection": "close"},
    )


def of_status(status: int, message: str) -> ApiError:
    """Turn an error of the router, such as an unknown path, into one of ours."""
    phrase = HTTPStatus(status).phrase
    return ApiError(status, message or phrase, code=phrase.lower().replace(" ", "_"))


def as_api_error(error: Exception) -> ApiError:
    """Translate any error.

    What the caller sent is a 400; a generator that fails and an index that cannot be read are a
    503, as another try may go better. What is not an error of ragib is a bug: the client is told
    no more than that, and the log all of it.
    """
    match error:
        case ApiError():
            return error
        case InputError():
            return bad_request(str(error))
        case GenerationError():
            return ApiError(503, f"the generator failed: {error}", code="generation_failed")
        case IndexDirError():
            return ApiError(503, f"the index cannot be read: {error}", code="index_unavailable")
        case OfflineError():
            return ApiError(503, str(error), code="offline")
        case RagibError():
            return ApiError(500, str(error), code="failed")
    _log.error("a request failed", exc_info=error)
    return ApiError(500, "the server failed; its log says why", code="internal_error")
