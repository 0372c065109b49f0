"""A Qdrant server for tests: its HTTP interface, as far as ragib uses it, over the memory store.

Requests are checked by the client library's own models, as a real server would check them. `fail`
can make any request fail, `log` tells what was asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from qdrant_client import QdrantClient
from qdrant_client.http.models import (
    ChangeAliasesOperation,
    CountRequest,
    CreateCollection,
    CreateFieldIndex,
    PointRequest,
    PointsList,
    QueryRequestBatch,
    ScrollRequest,
    ScrollResult,
)

Failing = Callable[[str, str], int | None]
"""Method, path -> status to fail with, or nothing."""


class FakeServer:
    """What the handler needs to know; `key` is asked for if it is set."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.log: list[tuple[str, str]] = []
        self.fail: Failing = lambda method, path: None
        self.key: str | None = None
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> Any:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        client = self.client
        match method, *parts:
            case "GET", "collections":
                return client.get_collections()
            case "GET", "aliases":
                return client.get_aliases()
            case "POST", "collections", "aliases":
                asked = ChangeAliasesOperation.model_validate_json(body)
                return client.update_collection_aliases(asked.actions)
            case "GET", "collections", name:
                return client.get_collection(name)
            case "PUT", "collections", name:
                made = CreateCollection.model_validate_json(body)
                return client.create_collection(
                    name,
                    vectors_config=made.vectors,
                    sparse_vectors_config=made.sparse_vectors,
                )
            case "DELETE", "collections", name:
                return client.delete_collection(name)
            case "PUT", "collections", name, "index":
                field = CreateFieldIndex.model_validate_json(body)
                return client.create_payload_index(name, field.field_name, field.field_schema)
            case "PUT", "collections", name, "points":
                return client.upsert(name, PointsList.model_validate_json(body).points)
            case "POST", "collections", name, "points":
                point = PointRequest.model_validate_json(body)
                return client.retrieve(name, point.ids, point.with_payload, point.with_vector)
            case "POST", "collections", name, "points", "count":
                return client.count(name, CountRequest.model_validate_json(body).filter)
            case "POST", "collections", name, "points", "scroll":
                ask = ScrollRequest.model_validate_json(body)
                points, after = client.scroll(name, ask.filter, limit=ask.limit, offset=ask.offset)
                return ScrollResult(points=points, next_page_offset=after)
            case "POST", "collections", name, "points", "query", "batch":
                batch = QueryRequestBatch.model_validate_json(body)
                return client.query_batch_points(name, batch.searches)
        raise AssertionError(f"{method} {path} is not asked by ragib")


@contextmanager
def fake_qdrant() -> Iterator[FakeServer]:
    """Serve on a port of this machine."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            path = urlsplit(self.path).path
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with fake.lock:
                fake.log.append((self.command, path))
                status = fake.fail(self.command, path)
                if fake.key is not None and self.headers.get("api-key") != fake.key:
                    status = 401
                if status is None:
                    try:
                        self._reply(200, {"result": _plain(fake.answer(self.command, path, body))})
                    except ValueError as error:
                        self._reply(404, {"status": {"error": str(error)}})
                else:
                    self._reply(status, {"status": {"error": "as the test wants"}})

        do_GET = do_POST = do_PUT = do_DELETE = _handle

        def _reply(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps({"status": "ok", "time": 0.0, **value}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        fake.client.close()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
