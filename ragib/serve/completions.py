"""`/v1/chat/completions` and `/v1/models`: the pipeline as a model that a chat client talks to.

The last message of the user is the question; messages before it are not read, as the pipeline has
no memory. Fields of OpenAI's that say how to sample are accepted and have no effect: how answers
are generated is the server's configuration.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ragib.serve.access import groups_of
from ragib.serve.answering import Event, events
from ragib.serve.bodies import Body, Text
from ragib.serve.event_stream import EventStream, Writer
from ragib.serve.problems import bad_request
from ragib.serve.service import Service, service_of
from ragib.serve.settings import MAX_QUESTION
from ragib.serve.shapes import Completion, content, new_completion, traced, usage
from ragib.serve.values import JSON
from ragib.serve.watching import Seen
from ragib.types import Answer


class _Lenient(Body):
    model_config = ConfigDict(extra="ignore")


class _Part(_Lenient):
    type: str
    text: Text = ""


class _Message(_Lenient):
    role: str
    content: Text | list[_Part] | None = None


class _StreamOptions(_Lenient):
    include_usage: bool = False


class ChatRequest(_Lenient):
    """What is read of a request; `where` and `trace` are ragib's own."""

    messages: list[_Message] = Field(min_length=1)
    model: str | None = Field(None, max_length=256)
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = 1
    where: dict[str, Any] | None = None
    trace: bool = False

    def question(self) -> str:
        """Return the last message of the user, or raise an `ApiError` if it is no question."""
        for place, message in reversed(list(enumerate(self.messages))):
            if message.role == "user":
                return _text(message, f"messages.{place}.content")
        raise bad_request("messages: none is the user's, so there is no question", "messages")


async def completions(request: Request) -> Response:
    """Answer a chat request, at once or as a stream."""
    service = service_of(request)
    body = await service.body(request, ChatRequest)
    question, allow = body.question(), groups_of(request.headers)
    completion = new_completion(body.model or service.model)

    def happening() -> AsyncGenerator[Event, None]:
        return events(service.rag, question, body.where, allow)

    if body.stream:
        counted = body.stream_options is not None and body.stream_options.include_usage

        async def produce(writer: Writer) -> None:
            await _stream(service, happening(), writer, completion, body.trace, counted)

        return EventStream(service, produce)
    answer, seen = await service.work(request.receive, lambda: _collect(happening()))
    service.metrics.answered(answer)
    return JSON(completion.whole(answer, seen if body.trace else None))


async def models(request: Request) -> Response:
    """List the one model that there is."""
    entry = {"id": service_of(request).model, "object": "model", "created": 0, "owned_by": "ragib"}
    return JSON({"object": "list", "data": [entry]})


async def _collect(source: AsyncGenerator[Event, None]) -> tuple[Answer, list[Seen]]:
    seen: list[Seen] = []
    async with aclosing(source) as happening:
        async for event in happening:
            if isinstance(event, Answer):
                return event, seen
            if not isinstance(event, str):
                seen.append(event)
    raise AssertionError("unreachable: a pipeline ends with an answer or an error")


async def _stream(
    service: Service,
    source: AsyncGenerator[Event, None],
    writer: Writer,
    completion: Completion,
    trace: bool,
    counted: bool,
) -> None:
    role = {"role": "assistant"}
    async with aclosing(source) as happening:
        async for event in happening:
            if isinstance(event, str):
                await writer.write(completion.chunk({**role, "content": event}))
                role = {}
            elif isinstance(event, Answer):
                if role:
                    await writer.write(completion.chunk({**role, "content": content(event)}))
                service.metrics.answered(event)
                await writer.write(completion.last(event))
                if counted:
                    await writer.write(completion.chunk(None, usage=usage(event)))
                await writer.done()
            elif trace:
                await writer.write(completion.chunk({}, ragib=traced(event)))


def _text(message: _Message, param: str) -> str:
    parts = message.content if isinstance(message.content, list) else []
    for part in parts:
        if part.type != "text":
            raise bad_request(f"{param}: only text can be asked, not {part.type!r}", param)
    text = "\n".join(p.text for p in parts) if parts else str(message.content or "")
    if not text.strip():
        raise bad_request(f"{param}: a question needs at least one word", param)
    if len(text) > MAX_QUESTION:
        raise bad_request(f"{param}: a question has at most {MAX_QUESTION:,} characters", param)
    return text
