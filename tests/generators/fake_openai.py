"""A chat server on loopback that follows a script, misbehaving as told."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FakeServer:
    """Answers each request with the next step of its script, then with the last one again.

    A step is a status, headers and a body; a body that is a list is sent piece by piece, and
    numbers in it are seconds to wait. `left` is set once a client closes a connection too early.
    """

    url: str = ""
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    busiest: int = 0
    busy: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def then(self, body, status=200, **headers) -> FakeServer:
        self.script.append((status, headers, body))
        return self

    def next(self):
        with self.lock:
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


def completion(text, **usage):
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


def event(text=None, **more):
    choice = {"delta": {} if text is None else {"content": text}, "finish_reason": None, **more}
    payload = json.dumps({"choices": [choice]}, ensure_ascii=False)
    return f"data: {payload}\r\n\r\n".encode()


@contextmanager
def serving():
    """Serve on a free port of loopback."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with fake.lock:
                fake.busy += 1
                fake.busiest = max(fake.busy, fake.busiest)
                fake.requests.append((self.path, dict(self.headers), body))
            status, headers, pieces = fake.next()
            if callable(pieces):
                pieces = pieces(body)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                for piece in pieces if isinstance(pieces, list) else [pieces]:
                    if isinstance(piece, bytes):
                        self.wfile.write(piece)
                        self.wfile.flush()
                    else:
                        time.sleep(piece)
            except OSError:
                fake.left.set()
            finally:
                with fake.lock:
                    fake.busy -= 1

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    yield fake
    httpd.shutdown()
    httpd.server_close()
    thread.join()
