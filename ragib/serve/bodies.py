"""The body of a request: not too large, JSON, and with the fields that are wanted."""

from __future__ import annotations

import json
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from ragib.serve.problems import ApiError, ClientGone, bad_request

Model = TypeVar("Model", bound=BaseModel)


def _encodable(text: object) -> object:
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_encodable)]
"""A string in which lone surrogates, which no tokenizer takes, became question marks."""


class Body(BaseModel):
    """Fields of a request; a field that is not known is an error, a number is not a string."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


async def read_body(request: Request, model: type[Model], limit: int) -> Model:
    """Read and check a body of at most `limit` bytes.

    Raises
    ------
    ApiError
        413 as soon as it is larger, 400 if it is not what `model` describes.
    ClientGone
        The connection broke before its end.
    """
    try:
        return model.model_validate(_json(await _bytes(request, limit)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise bad_request(f"{param}: {message}" if param else message, param or None) from None


async def _bytes(request: Request, limit: int) -> bytes:
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        _too_large(limit)
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                _too_large(limit)
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(body)


def _too_large(limit: int) -> NoReturn:
    # The rest is never read, so the connection cannot be used again.
    raise ApiError(
        413,
        f"the request is larger than {limit:,} bytes",
        code="request_too_large",
        headers={"Connection": "close"},
    )


def _json(body: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"the request is not JSON: {reason}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
