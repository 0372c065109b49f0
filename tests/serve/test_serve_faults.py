"""A generator that hangs, fails or returns garbage: a clear error, and nothing left running."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from ragib.serve.app import build_app
from ragib.serve.settings import Settings
from tests.serve.pipelines import (
    BREAKING,
    BUGGY,
    FAILING,
    GARBAGE,
    GOOD,
    HANGING,
    OTHER_TEXT,
    UNFINISHED,
    app_of,
    asking,
    chat,
    client_of,
    events_of,
    pipeline,
    text_of,
)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "status", "code", "message"),
    [
        (FAILING, 503, "generation_failed", "no luck"),
        (BUGGY, 500, "internal_error", "its log says why"),
        ((3600.0,), 504, "deadline_exceeded", "0.3 s"),
    ],
)
def test_an_error_before_the_first_piece_has_a_status(script, status, code, message, stream):
    response = chat(app_of(script, deadline=0.3), stream=stream)
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", code)
    assert message in error["message"]
    assert "secret detail" not in response.text


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (BREAKING, "generation_failed"),
        (HANGING, "deadline_exceeded"),
        (GARBAGE, "generation_failed"),
        (UNFINISHED, "generation_failed"),
        (OTHER_TEXT, "generation_failed"),
    ],
)
def test_an_error_in_the_middle_ends_the_stream(script, code):
    response = chat(app_of(script, deadline=0.3), stream=True)
    assert response.status_code == 200
    *before, last = events_of(response.text)
    assert last["error"]["code"] == code
    assert text_of(before)
    assert "[DONE]" not in response.text


@pytest.mark.parametrize("script", [BREAKING, GARBAGE, UNFINISHED, OTHER_TEXT])
def test_half_an_answer_is_none(script):
    response = chat(app_of(script))
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "generation_failed"


def test_a_bug_is_in_the_log_with_its_traceback(caplog):
    with caplog.at_level(logging.ERROR, "ragib.serve"):
        chat(app_of(BUGGY))
    [record] = caplog.records
    assert "secret detail" in str(record.exc_info)


def test_the_deadline_stops_the_generator():
    rag = pipeline(HANGING)
    chat(build_app(rag, Settings(deadline=0.2)))
    assert rag.generator.ended == ["cancelled"]


def test_a_generator_that_hangs_in_a_thread_costs_its_client_only():
    release = threading.Event()
    rag = pipeline((lambda: release.wait(30), *GOOD))
    app = build_app(rag, Settings(deadline=0.3, concurrency=1))

    async def both():
        async with client_of(app) as client:
            first = await client.post("/v1/chat/completions", json=asking())
            health = await client.get("/health")
            release.set()
            second = await client.post("/v1/chat/completions", json=asking())
            return first.status_code, health.json(), second.status_code

    first, health, second = asyncio.run(both())
    assert (first, second) == (504, 200)
    assert (health["working"], health["waiting"]) == (0, 0)


def test_failures_free_their_slots():
    app = app_of(FAILING, concurrency=1, queue=0)
    assert [chat(app).status_code for _ in range(3)] == [503] * 3
    assert app.state.service.gate.working == 0


@pytest.mark.parametrize("path", ["/search", "/compress"])
def test_other_stages_that_fail_are_told_likewise(path, caplog):
    app = app_of()

    class Broken:
        def retrieve(self, *_, **__):
            raise OSError("disk on fire")

    object.__setattr__(app.state.service.rag.retriever, "index", Broken())

    async def ask():
        async with client_of(app) as client:
            return await client.post(path, json={"question": "river?"})

    response = asyncio.run(ask())
    assert response.status_code == 500
    assert "fire" not in response.text
