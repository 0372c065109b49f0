"""Backpressure: so much at once, so much waiting; and sizes."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.serve.app import build_app
from ragib.serve.gate import Gate
from ragib.serve.problems import ApiError
from ragib.serve.settings import Settings
from tests.serve.pipelines import GOOD, app_of, asking, call, client_of, pipeline


def test_the_third_is_told_to_come_back_when_one_works_and_one_waits():
    app = build_app(pipeline((0.2, *GOOD)), Settings(concurrency=1, queue=1))

    async def three():
        async with client_of(app) as client:
            return await asyncio.gather(
                *(client.post("/v1/chat/completions", json=asking()) for _ in range(3))
            )

    responses = asyncio.run(three())
    statuses = sorted(response.status_code for response in responses)
    assert statuses == [200, 200, 429]
    [refused] = [response for response in responses if response.status_code == 429]
    assert int(refused.headers["retry-after"]) >= 1
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "server_busy")
    assert app.state.service.gate.working == app.state.service.gate.waiting == 0


def test_waiting_counts_towards_the_deadline():
    app = build_app(pipeline((0.5, *GOOD)), Settings(concurrency=1, queue=9, deadline=0.3))

    async def two():
        async with client_of(app) as client:
            return await asyncio.gather(
                *(client.post("/v1/chat/completions", json=asking()) for _ in range(2))
            )

    assert [response.status_code for response in asyncio.run(two())] == [504, 504]
    assert app.state.service.gate.waiting == 0


@given(
    slots=st.integers(1, 3),
    queue=st.integers(0, 3),
    steps=st.lists(st.one_of(st.just("arrive"), st.integers(0, 5)), max_size=30),
)
def test_the_gate_is_a_queue_in_front_of_slots(slots, queue, steps):
    """A number ends the so-manyth request that works; the oracle keeps two lists."""

    async def play():
        gate = Gate(slots, queue)
        ends, entered, refused = {}, [], []
        working, waiting, turned_away = [], [], []

        async def visit(name):
            try:
                async with gate.slot():
                    entered.append(name)
                    await ends[name].wait()
            except ApiError as error:
                refused.append((name, error.status))

        tasks = []
        order = []
        for name, step in enumerate(steps):
            if step == "arrive":
                ends[name] = asyncio.Event()
                tasks.append(asyncio.create_task(visit(name)))
                if len(working) < slots:
                    working.append(name)
                    order.append(name)
                elif len(waiting) < queue:
                    waiting.append(name)
                else:
                    turned_away.append((name, 429))
            elif step < len(working):
                ends[working.pop(step)].set()
                if waiting:
                    working.append(waiting.pop(0))
                    order.append(working[-1])
            for _ in range(5):
                await asyncio.sleep(0)
            assert (gate.working, gate.waiting) == (len(working), len(waiting))
            assert (entered, refused) == (order, turned_away)
        for end in ends.values():
            end.set()
        await asyncio.gather(*tasks)
        assert (gate.working, gate.waiting) == (0, 0)

    asyncio.run(play())


def test_retry_after_grows_with_the_queue_and_stays_in_bounds():
    async def ask():
        gate = Gate(1, 1000)
        alone = gate.retry_after()
        gate.waiting = 20
        longer = gate.retry_after()
        gate.waiting = 1000
        return alone, longer, gate.retry_after()

    alone, longer, longest = asyncio.run(ask())
    assert 1 <= alone < longer < longest <= 60


@pytest.mark.parametrize("told", [True, False])
def test_a_body_over_the_limit_is_refused_before_it_is_read(told):
    read = 0

    async def body():
        nonlocal read
        for _ in range(100):
            read += 1
            yield b"x" * 100

    headers = {"content-length": "10000"} if told else {}
    app = app_of(max_body=1000)
    response = call(app, "POST", "/search", content=body(), headers=headers)
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert response.json()["error"]["code"] == "request_too_large"
    assert read <= 12


def test_a_body_at_the_limit_is_taken():
    body = json.dumps({"question": "river?"}).encode()
    app = app_of(max_body=len(body))
    assert call(app, "POST", "/search", content=body).status_code == 200
    assert call(app, "POST", "/search", content=body + b" ").status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for():
    async def body():
        yield b"{"
        await asyncio.sleep(60)

    response = call(app_of(deadline=0.2), "POST", "/search", content=body())
    assert response.status_code == 408
