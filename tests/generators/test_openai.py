import asyncio
import json
import time
from dataclasses import replace
from email.utils import formatdate

import pytest
from fake_openai import completion, event

from ragib.config import GeneratorConfig
from ragib.errors import ConfigError, GenerationError
from ragib.generators.base import Generation, Quote, Request
from ragib.generators.openai import OpenAIGenerator
from ragib.generators.prompt import chat
from ragib.generators.retry import Backoff, seconds_asked
from ragib.generators.structured import SCHEMA
from ragib.pipeline import RAG
from ragib.types import Compressed, Evidence, Hit, Passage

DONE = b"data: [DONE]\n\n"


class OneHit:
    def retrieve(self, questions, **_):
        return [[Hit(Passage("p", "d", "Ada"), 1.0)] for _ in questions]


class NoCompressor:
    def compress(self, questions):
        return [Compressed(q.id, request().evidence, (), 1, 1) for q in questions]


def request(question="Who wrote it?"):
    return Request(question, (Evidence("p", 0, 3, "Ada", 1.0),))


@pytest.fixture
def waits(monkeypatch):
    """Record the waits between attempts, in place of waiting."""
    waited = []
    sleep = asyncio.sleep

    async def record(seconds):
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr("ragib.generators.openai.asyncio.sleep", record)
    return waited


def connect(server, **values):
    config = {"name": "openai", "model": "tiny", "base_url": server.url, "timeout": 5.0, **values}
    return OpenAIGenerator(GeneratorConfig(**config))


async def collect(generator, one=None):
    return [part async for part in generator.stream(one or request())]


def test_a_request_goes_out_as_configured_and_the_answer_is_read(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", " sk-secret\n")
    server.then(completion("Ada [1].", prompt_tokens=7, completion_tokens=3, total_tokens=10))
    generator = connect(server, api_key_env="MY_KEY", seed=5, max_tokens=9)
    assert generator.generate([request()]) == [
        Generation("Ada.", (Quote(0),), usage={"prompt_tokens": 7, "completion_tokens": 3})
    ]
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-secret"
    assert body == {
        "model": "tiny",
        "messages": chat(request()),
        "max_tokens": 9,
        "temperature": 0.0,
        "seed": 5,
    }


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    connect(server.then(completion("Ada"))).generate([request()])
    assert "Authorization" not in server.requests[0][1]


def test_a_key_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\nX-Evil: 1")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY holds no API key"):
        OpenAIGenerator(GeneratorConfig(name="openai", model="m"))


def test_a_proxy_of_the_environment_never_sees_loopback(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert connect(server.then(completion("Ada"))).generate([request()])[0].text == "Ada"


def test_a_batch_keeps_its_order_and_its_bound(server):
    def echo(body):
        time.sleep(0.02)
        return completion(body["messages"][1]["content"].rpartition("Question: ")[2])

    generator = connect(server.then(echo), concurrency=3)
    questions = [f"q{n}" for n in range(12)]
    assert [g.text for g in generator.generate([request(q) for q in questions])] == questions
    assert 1 < server.busiest <= 3
    assert generator.generate([]) == []


def test_one_failure_costs_no_other(server):
    def picky(body):
        return completion("fine") if "good" in body["messages"][1]["content"] else b"<html>oops"

    got = connect(server.then(picky)).generate([request("good"), request("bad"), request("good")])
    assert [one.text for one in got] == ["fine", "", "fine"]
    assert [one.error is None for one in got] == [True, False, True]
    assert "no JSON: <html>oops" in got[1].error


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_after_growing_waits(server, waits, status):
    for _ in range(3):
        server.then(b"busy", status)
    server.then(completion("Ada"))
    assert connect(server).generate([request()])[0].text == "Ada"
    assert len(server.requests) == 4
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1 <= waits[2] <= 2


def test_waits_repeat_with_the_seed():
    def waits(seed):
        backoff = Backoff(8, 60, seed)
        return [backoff.wait("busy") for _ in range(8)]

    assert waits(1) == waits(1) != waits(2)
    assert max(waits(1)) <= 30


def test_the_server_says_how_long_to_wait(server, waits):
    server.then(b"", 429, Retry_After="4").then(completion("Ada"))
    assert connect(server).generate([request()])[0].text == "Ada"
    assert waits == [4.0]


def test_too_long_a_wait_is_an_error_at_once(server, waits):
    server.then(b"", 429, Retry_After="3600")
    (got,) = connect(server).generate([request()])
    assert "asks to wait 3600 s" in got.error
    assert (waits, len(server.requests)) == ([], 1)


def test_retry_after_may_be_a_date_or_nonsense():
    assert 8 < seconds_asked(formatdate(time.time() + 10, usegmt=True)) <= 10
    for nothing in (None, "", "soon", "-5", formatdate(0, usegmt=True), "1e9"):
        assert seconds_asked(nothing) == 0


def test_attempts_are_counted_and_the_last_reason_told(server, waits):
    server.then(b'{"error": "engine  \n died"}', 503)
    (got,) = connect(server, retries=2).generate([request()])
    assert got == Generation("", error=got.error)
    assert 'status 503: {"error": "engine died"} (after 3 attempts)' in got.error
    assert (len(server.requests), len(waits)) == (3, 2)


def test_what_will_not_pass_is_not_tried_again_and_the_key_stays_secret(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.then(b"wrong key sk-secret " + b"x" * 5000, 401)
    (got,) = connect(server).generate([request()])
    assert "status 401: wrong key ***" in got.error
    assert len(got.error) < 500
    assert len(server.requests) == 1
    with pytest.raises(GenerationError, match=r"wrong key \*\*\*"):
        asyncio.run(collect(connect(server)))


def test_redirects_are_not_followed(server):
    server.then(b"", 307, Location="http://example.com/").then(completion("no"))
    assert "status 307" in connect(server).generate([request()])[0].error


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"choices": []}'),
        *(b'{"choices": [{"message": {}}]}', b'{"choices": [{"message": {"content": 5}}]}'),
    ],
)
def test_garbage_is_an_error_and_no_traceback(server, body):
    (got,) = connect(server.then(body)).generate([request()])
    assert "the server sent no" in got.error


def test_an_answer_without_content_or_usage_is_an_abstention(server):
    server.then(b'{"choices": [{"message": {"content": null}}], "usage": {"prompt_tokens": "x"}}')
    assert connect(server).generate([request()]) == [Generation("", abstained=True)]


def test_a_server_that_hangs_or_drips_is_left(server, waits):
    server.then([5.0, completion("late")]).then([b" ", 0.15] * 40)
    (got,) = connect(server, timeout=0.3, retries=1).generate([request()])
    assert "no answer within 0.3 s (after 2 attempts)" in got.error


def test_no_server_is_an_error_that_names_the_address(waits):
    config = GeneratorConfig(name="openai", model="m", base_url="http://127.0.0.1:9/v1", retries=1)
    (got,) = OpenAIGenerator(config).generate([request()])
    assert "http://127.0.0.1:9/v1/chat/completions: ConnectError" in got.error


def test_generate_works_inside_a_running_loop(server):
    generator = connect(server.then(completion("Ada")))

    async def notebook():
        return generator.generate([request()]), await generator.agenerate(request())

    (batch,), single = asyncio.run(notebook())
    assert batch == single == Generation("Ada")


def test_one_generator_serves_many_loops(server):
    generator = connect(server.then(completion("Ada")), concurrency=1)
    for _ in range(3):
        assert len(generator.generate([request()] * 3)) == 3


def test_streaming_yields_pieces_then_the_whole(server):
    body = [b": ping\r\n\r\n", event(), event("A"), event("da [1"), event('].\u2028So "')]
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 4}}\n\n'
    server.then([*body, event("it" * 3), event(finish_reason="stop"), usage, DONE, event("x")])
    *pieces, got = asyncio.run(collect(connect(server)))
    text = 'Ada.\u2028So "ititit'
    assert pieces[0] == "A"
    assert "".join(pieces) == text
    usage = {"prompt_tokens": 7, "completion_tokens": 4}
    assert got.usage.items() >= usage.items()
    assert got == Generation(text, (Quote(0),), usage=got.usage)
    assert server.requests[0][2]["stream"] is True


def test_events_may_come_in_any_pieces(server):
    whole = event("Zoë") + event(" é [1]") + DONE
    server.then([whole[n : n + 1] for n in range(len(whole))])
    *pieces, got = asyncio.run(collect(connect(server)))
    assert "".join(pieces) == got.text == "Zoë é"


def test_a_stream_is_tried_again_before_its_first_piece_only(server, waits):
    server.then(b"", 503).then([event("Ada"), DONE])
    *pieces, _ = asyncio.run(collect(connect(server)))
    assert (pieces, len(waits)) == (["Ada"], 1)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ([], "broke off"),
        ([b'data: {"choi'], "no JSON"),
        ([b'data: {"error": {"message": "engine died"}}\n\n'], "engine died"),
        ([b"data: \xff\n\n"], "no JSON"),
        ([5.0], "broke off"),
    ],
)
def test_a_stream_that_breaks_off_is_an_error_after_its_pieces(server, rest, reason):
    async def follow():
        async for part in connect(server, timeout=0.3).stream(request()):
            seen.append(part)  # noqa: PERF401 (what came before the error counts)

    seen = []
    server.then([event("Ada wrote"), *rest])
    with pytest.raises(GenerationError, match=reason):
        asyncio.run(follow())
    assert seen == ["Ada wrote"]
    assert len(server.requests) == 1


def test_one_may_ask_in_the_middle_of_a_stream(server):
    async def interleave():
        stream = generator.stream(request())
        first = await anext(stream)
        other = await generator.agenerate(request())
        await stream.aclose()
        return first, other.text

    server.then([event("Ada"), event(" wrote"), 0.2, DONE]).then(completion("Bob"))
    generator = connect(server, concurrency=1)
    assert asyncio.run(interleave()) == ("Ada", "Bob")


def test_leaving_a_stream_closes_its_connection(server):
    async def first():
        stream = connect(server).stream(request())
        piece = await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(server.left.wait, 20)
        return piece

    server.then([event("Ada"), *[0.01, event("x")] * 2000, DONE])
    assert asyncio.run(first()) == "Ada"


def test_a_pipeline_that_is_left_closes_the_connection_too(server):
    generator = connect(server)

    async def first():
        stream = RAG(OneHit(), NoCompressor(), generator).astream("Who wrote it?")
        piece = await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(server.left.wait, 20)
        return piece

    server.then([event("Ada"), *[0.01, event("x")] * 2000, DONE])
    assert asyncio.run(first()) == "Ada"


def test_cancelling_a_request_closes_its_connection(server):
    async def cancel():
        task = asyncio.create_task(connect(server).agenerate(request()))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.left.wait, 20)

    server.then([*[b" ", 0.01] * 2000, completion("Ada")])
    asyncio.run(cancel())


def test_what_only_some_servers_know_is_sent_if_asked_for(server):
    server.then(completion("Ada"))
    salted = replace(request(), salt="s1")
    connect(server, stop=["\n", "Q:"], priority=-3).generate([salted])
    connect(server, cache_salt=False).generate([salted])
    more, less = (body for _, _, body in server.requests)
    assert (more["stop"], more["priority"], more["cache_salt"]) == (["\n", "Q:"], -3, "s1")
    assert not {"stop", "priority", "cache_salt", "response_format"} & less.keys()


REPLY = '{"abstained": false, "answer": "Ada [1].", "citations": [{"evidence": 1, "quote": "Ad"}]}'


def test_structured_answers_are_asked_for_by_a_schema_and_read_strictly(server):
    server.then(completion(REPLY, prompt_tokens=7)).then(completion("Ada [1].", prompt_tokens=7))
    generator = connect(server, structured=True)
    good, bad = generator.generate([request()])[0], generator.generate([request()])[0]
    assert good == Generation("Ada.", (Quote(0), Quote(0, "Ad")), usage={"prompt_tokens": 7})
    assert "no whole JSON object" in bad.error
    assert "Ada [1]." in bad.error
    body = server.requests[0][2]
    assert body["messages"] == chat(request(), structured=True)
    asked = body["response_format"]["json_schema"]
    assert (asked["schema"], asked["strict"]) == (SCHEMA, True)


def test_structured_answers_stream_their_text(server):
    half = REPLY.index("a [1]")
    server.then([event(REPLY[:half]), event(REPLY[half:]), DONE])
    server.then([event(REPLY[:half]), DONE])
    *pieces, got = asyncio.run(collect(connect(server, structured=True)))
    assert pieces[0] == "Ad"
    assert "".join(pieces) == got.text == "Ada."
    assert got.quotes == (Quote(0), Quote(0, "Ad"))
    with pytest.raises(GenerationError, match="no whole JSON object"):
        asyncio.run(collect(connect(server, structured=True)))


def test_cached_tokens_and_the_pace_are_told(server):
    told = {"prompt_tokens": 70, "prompt_tokens_details": {"cached_tokens": 64}}
    server.then(completion("Ada", **told)).then(completion("Ada", prompt_tokens_details=None))
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\n'
    server.then([0.02, event("A"), 0.02, event("da"), usage, DONE])
    generator = connect(server)
    cached, unknown = (generator.generate([request()])[0].usage for _ in range(2))
    assert (cached, unknown) == ({"prompt_tokens": 70, "cached_tokens": 64}, {})
    got = asyncio.run(collect(generator))[-1].usage
    assert got["first_token_ms"] >= 20
    assert 0 < got["tokens_per_second"] <= 100


def test_bodies_are_json(server):
    connect(server.then(completion("Ada"))).generate([request('quote " \\ \u2028 \x00')])
    assert json.dumps(server.requests[0][2])
