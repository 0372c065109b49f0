"""Values as JSON that any client can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from starlette.responses import Response


class JSON(Response):
    """A response that holds one JSON value."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401
        """Write the value."""
        return encoded(content)


def encoded(value: object) -> bytes:
    r"""Write a value of ragib's types as JSON on one line.

    Lone surrogates, which UTF-8 has no room for, become question marks one for one, so offsets
    stay true; numbers that JSON does not know become null.
    """
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode()


def plain(value: object) -> Any:  # noqa: ANN401
    """Turn dataclasses, mappings, tuples and numpy's numbers into what JSON has."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return value.encode("utf-8", "replace").decode()
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {plain(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "item"):
        return plain(value.item())
    return plain(str(value))
