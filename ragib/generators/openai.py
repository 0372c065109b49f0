"""Any server that speaks the OpenAI chat protocol: vLLM's own, a gateway, a hosted service."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ragib.addresses import api_key, host_of, is_loopback
from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, GenerationError
from ragib.extras import refuse_offline, require
from ragib.generators.base import Generation, Request
from ragib.generators.pace import pace
from ragib.generators.prompt import chat
from ragib.generators.retry import RETRIED, Backoff
from ragib.generators.running import run
from ragib.generators.sse import Chunk, chunks, read_json
from ragib.generators.structured import SCHEMA, parser_for, read

if TYPE_CHECKING:
    import httpx


class OpenAIGenerator:
    """Answers over HTTP, `concurrency` requests at a time.

    A request that meets a busy or broken server (status 408, 409, 425, 429 or 5xx), a refused
    connection or a timeout is sent again, up to `retries` times, after a wait that doubles from
    half a second and is never shorter than the server's `Retry-After`. `timeout` bounds each
    attempt; when streaming, each wait for the next piece. Leaving a stream or cancelling a request
    closes its connection, by which the server knows to stop. The API key is read from the
    environment variable that `api_key_env` names and is only ever sent to `base_url`; redirects
    are not followed.

    `structured` asks for JSON by a schema (`response_format`). Requests with a salt send it as
    `cache_salt`, and a `priority` other than 0 goes along: fields of vLLM's, which other servers
    may refuse; `cache_salt: false` leaves the first out.

    Raises
    ------
    ConfigError
        No model is named, or `base_url` is not an HTTP address.
    OfflineError
        The network is switched off and the server is not on this machine.
    MissingExtraError
        httpx is not installed.
    """

    name = "openai"

    def __init__(self, config: GeneratorConfig) -> None:
        if not config.model:
            raise ConfigError("generator.model: set it to the name the server knows the model by")
        host = host_of(config.base_url, "generator.base_url", "http://127.0.0.1:8000/v1")
        self._local = is_loopback(host)
        if not self._local:
            refuse_offline(f"the server {host}")
        self._httpx = require("httpx", "the openai generator")
        self._config = config
        self._url = config.base_url.rstrip("/") + "/chat/completions"
        self._key = api_key(config.api_key_env)
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch concurrently; requests that fail for good get an `error`."""
        return run(self._all(requests))

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request; it gets an `error` if it fails for good."""
        return (await self._all([request]))[0]

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer as the server sends it; only its beginning is ever tried again."""
        parser = parser_for(self._config.structured)
        usage: dict[str, int] = {}
        finished = False
        begun, first, last = perf_counter(), None, 0.0
        async with self._client() as client:
            response = await self._open(client, request)
            async with aclosing(response):
                async for chunk in self._chunks(response):
                    finished = finished or chunk.finished
                    usage |= chunk.usage
                    if chunk.text:
                        last = perf_counter() - begun
                        first = last if first is None else first
                    if shown := parser.feed(chunk.text):
                        yield shown
        if not finished:
            raise GenerationError(f"{self._url}: the answer broke off before its end")
        usage |= pace(first, last, usage.get("completion_tokens", 0))
        rest, generation = parser.finish(usage)
        if rest:
            yield rest
        yield generation

    async def _all(self, requests: Sequence[Request]) -> list[Generation]:
        async with self._client() as client:
            return await asyncio.gather(*(self._one(client, request) for request in requests))

    async def _one(self, client: httpx.AsyncClient, request: Request) -> Generation:
        try:
            async with self._gate():
                response = await self._send(client, self._body(request, stream=False))
            text, usage = read_json(response.content)
        except GenerationError as error:
            return Generation("", error=self._clean(f"{self._url}: {error}"))
        return read(text, self._config.structured, usage)

    async def _open(self, client: httpx.AsyncClient, request: Request) -> httpx.Response:
        try:
            # A reader may take its time over a stream, so only the opening counts as busy.
            async with self._gate():
                return await self._send(client, self._body(request, stream=True), stream=True)
        except GenerationError as error:
            raise GenerationError(self._clean(f"{self._url}: {error}")) from None

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[Chunk]:
        try:
            async with aclosing(response.aiter_bytes()) as pieces:  # type: ignore[type-var]
                async for chunk in chunks(pieces):
                    yield chunk
        except self._httpx.HTTPError as error:
            raise GenerationError(f"{self._url}: the answer broke off: {_reason(error)}") from error
        except GenerationError as error:
            raise GenerationError(self._clean(f"{self._url}: {error}")) from None

    async def _send(
        self, client: httpx.AsyncClient, body: Mapping[str, Any], *, stream: bool = False
    ) -> httpx.Response:
        backoff = Backoff(self._config.retries, self._config.timeout, self._config.seed)
        while True:
            retry_after = None
            try:
                async with asyncio.timeout(self._config.timeout):
                    message = client.build_request("POST", self._url, json=body)
                    response = await client.send(message, stream=stream)
                    if response.is_success:
                        return response
                    excerpt = await _excerpt(response)
                reason = f"status {response.status_code}: {excerpt}"
                if response.status_code not in RETRIED:
                    raise GenerationError(reason)
                retry_after = response.headers.get("retry-after")
            except TimeoutError:
                reason = f"no answer within {self._config.timeout:g} s"
            except self._httpx.HTTPError as error:
                reason = _reason(error)
            await asyncio.sleep(backoff.wait(reason, retry_after))

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        body = self._common(self._config.max_tokens, request.salt)
        body["messages"] = chat(request, structured=self._config.structured)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if self._config.structured:
            shape = {"name": "answer", "schema": SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        if self._config.stop:
            body["stop"] = list(self._config.stop)
        if self._config.priority:
            body["priority"] = self._config.priority
        return body

    def _common(self, max_tokens: int, salt: str | None) -> dict[str, Any]:
        """Return what the bodies of all requests have, whatever is asked."""
        body: dict[str, Any] = {
            "model": self._config.model,
            "max_tokens": max_tokens,
            "temperature": self._config.temperature,
            "seed": self._config.seed,
        }
        if salt and self._config.cache_salt:
            body["cache_salt"] = salt
        return body

    def _client(self) -> httpx.AsyncClient:
        client: httpx.AsyncClient = self._httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=self._config.timeout,
            limits=self._httpx.Limits(max_connections=self._config.concurrency),
            verify=self._certificates,
            # A proxy from the environment must not see what goes to this very machine.
            trust_env=not self._local,
        )
        return client

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        # Reading them takes longer than a request, so it is done once.
        return ssl.create_default_context()

    def _gate(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        return self._gates.setdefault(loop, asyncio.Semaphore(self._config.concurrency))

    def _clean(self, message: str) -> str:
        return message.replace(self._key, "***") if self._key else message


async def _excerpt(response: httpx.Response) -> str:
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    return " ".join(body[:2000].decode("utf-8", "replace").split())[:300]


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
