"""A pipeline without models: two passages, a compressor that drops, generators that misbehave."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx

from ragib.errors import GenerationError
from ragib.generators.base import Generation, Quote
from ragib.pipeline import RAG
from ragib.retriever import Retriever
from ragib.serve.app import build_app
from ragib.serve.listening import address_of, listen
from ragib.serve.running import Server
from ragib.serve.settings import Settings
from ragib.serve.workers import Workers
from ragib.types import Compressed, Dropped, Evidence, Hit, Passage

RIVER = Passage("d#1", "d", "The river is old. It runs to the sea.", "River", 50, 87, {"year": 9})
TOWER = Passage("t#0", "a b/t", "The tower is new. It is 🗼 high.", "", 0, 32)
CROWN = Passage("c#0", "c", "The crown is hidden. Nobody knows.", "", 0, 34, {}, ("crown",))
EVIL = Passage(
    "e#0", "</script>", "<script>document.title='owned'</script> is evil. <img src=x onerror=boom>",
    "<b>bold</b>", 0, 72,
)  # fmt: skip


@dataclass
class FakeIndex:
    """Finds the passages that the asker may see, as many as wanted."""

    passages: tuple = (RIVER, TOWER, CROWN)
    asked: list = field(default_factory=list)
    encoder = None

    def follow(self):
        return False

    def retrieve(self, questions, config, *, where=None, allow=("public",)):
        self.asked.append((tuple(questions), config, where, tuple(allow)))
        found = [p for p in self.passages if set(p.access) & set(allow)]
        hits = [Hit(p, 1 / n, {"sparse": n}, {"sparse": 2.0}) for n, p in enumerate(found, 1)]
        return [hits[: config.k] for _ in questions]


class FirstSentence:
    """Keeps the first sentence of every passage; abstains on questions about the moon."""

    name = "first-sentence"

    def compress(self, questions):
        return [self._one(question) for question in questions]

    def _one(self, question):
        abstained = "moon" in question.text
        kept, dropped = [], []
        for rank, passage in enumerate(question.passages, 1):
            end = passage.text.index(".") + 1
            if abstained:
                dropped.append(Dropped(passage.id, 0, end, 0.0, "nothing answers"))
            else:
                kept.append(Evidence(passage.id, 0, end, passage.text[:end], 1 / rank))
            if len(passage.text) > end + 1:
                reason = "below the threshold of 0.5"
                dropped.append(Dropped(passage.id, end + 1, len(passage.text), 0.1, reason))
        words = sum(len(passage.text.split()) for passage in question.passages)
        left = sum(len(piece.text.split()) for piece in kept)
        return Compressed(question.id, tuple(kept), tuple(dropped), words, left, not kept)


@dataclass
class Scripted:
    """Yields the steps of its script: pieces, a `Generation`, errors to raise, seconds to wait."""

    script: tuple = ()
    ended: list = field(default_factory=list)
    name = "scripted"

    def generate(self, requests):
        raise AssertionError("a server streams")

    async def agenerate(self, request):
        raise AssertionError("a server streams")

    async def stream(self, request):
        try:
            for step in self.script:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif callable(step):
                    await asyncio.to_thread(step)
                else:
                    yield step
            self.ended.append("whole")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        except GeneratorExit:
            self.ended.append("closed")
            raise


GOOD = ("Ol", "d.", Generation("Old.", (Quote(0, "river is"),), usage={"prompt_tokens": 9}))
HANGING = ("Ol", 3600.0)
FAILING = (GenerationError("no luck"),)
BREAKING = ("Ol", GenerationError("no luck"))
BUGGY = (ValueError("secret detail"),)
GARBAGE = ("Ol", 42, Generation("Old."))
UNFINISHED = ("Ol", "d.")
OTHER_TEXT = ("New.", Generation("Old."))


def pipeline(script=GOOD, *passages):
    """Return a pipeline that answers by a script, and its parts in `retriever`, `generator`."""
    index = FakeIndex(passages or (RIVER, TOWER, CROWN))
    return RAG(Retriever(index), FirstSentence(), Scripted(tuple(script)))


def asking(question="How old is the river?", **more):
    return {"messages": [{"role": "user", "content": question}], **more}


def call(app, method="GET", path="/health", **request):
    """Send one request to an application in this process; no task may be left behind."""

    async def send():
        async with client_of(app) as client:
            response = await client.request(method, path, **request)
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return response

    return asyncio.run(send())


def chat(app, **more):
    return call(app, "POST", "/v1/chat/completions", json=asking(**more))


def app_of(script=GOOD, *passages, **settings):
    return build_app(pipeline(script, *passages), Settings(**settings))


def events_of(text):
    """Read a stream of events; the last must be `[DONE]` or an error."""
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks]
    if data[-1] == "[DONE]":
        return [json.loads(one) for one in data[:-1]]
    assert "error" in json.loads(data[-1])
    return [json.loads(one) for one in data]


def text_of(events):
    """Join the pieces of a streamed answer."""
    deltas = [event["choices"][0]["delta"] for event in events if event.get("choices")]
    return "".join(delta.get("content", "") for delta in deltas)


@contextmanager
def serving(rag, **settings):
    """Serve on a free port, on a thread; gives the address and the server."""
    with listen("127.0.0.1", 0, ()) as listener:
        server = Server(build_app(rag, Settings(**settings)))

        async def run():
            asyncio.get_running_loop().set_default_executor(Workers(4))
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            yield address_of(listener), server
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@asynccontextmanager
async def client_of(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client
