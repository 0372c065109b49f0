"""What an OpenAI-compatible server sends: one JSON object, or a stream of server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ragib.errors import GenerationError

_LONGEST_LINE = 1 << 22


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer; `finished` once the server says that it ends here."""

    text: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    finished: bool = False


def read_json(body: bytes) -> tuple[str, dict[str, int]]:
    """Return the text and the token counts of a whole answer.

    Raises
    ------
    GenerationError
        The body is not an answer; an excerpt is in the message.
    """
    answer = _object(body)
    match answer:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text, count_tokens(answer)
        case {"choices": [{"message": {"content": None}}, *_]}:
            return "", count_tokens(answer)
    raise GenerationError(f"the server sent no answer: {_excerpt(body)}")


async def chunks(source: AsyncIterator[bytes]) -> AsyncIterator[Chunk]:
    """Read a stream of events; it ends with `[DONE]` or when the source does.

    Raises
    ------
    GenerationError
        An event is not JSON, or says that the server failed.
    """
    async for line in _lines(source):
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            yield Chunk(finished=True)
            return
        event = _object(data)
        if "error" in event:
            raise GenerationError(f"the server failed while answering: {_excerpt(data)}")
        yield _chunk(event)


def count_tokens(answer: Mapping[str, Any]) -> dict[str, int]:
    """Return the token counts of an answer, those that the server tells."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return {}
    match usage:
        case {"prompt_tokens_details": {"cached_tokens": cached}}:
            usage = {**usage, "cached_tokens": cached}
    return {
        name: usage[name]
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        if isinstance(usage.get(name), int)
    }


def _chunk(event: Mapping[str, Any]) -> Chunk:
    text, finished = "", False
    match event:
        case {"choices": [{**choice}, *_]}:
            finished = choice.get("finish_reason") is not None
            match choice:
                case {"delta": {"content": str(text)}}:
                    pass
    return Chunk(text, count_tokens(event), finished)


async def _lines(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    # Only line feeds end a line: JSON may hold U+2028 and its like as they are.
    rest = b""
    async for piece in source:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
        if len(rest) > _LONGEST_LINE:
            raise GenerationError("the server sent an event of more than 4 MiB")
    if rest:
        yield rest


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise GenerationError(f"the server sent no JSON: {_excerpt(body)}") from None
    if not isinstance(value, dict):
        raise GenerationError(f"the server sent no answer: {_excerpt(body)}")
    return value


def _excerpt(body: bytes) -> str:
    return " ".join(body[:2000].decode("utf-8", "replace").split())[:300] or "nothing at all"
