"""Over real sockets: clients that leave, and an end that loses nobody."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serve.pipelines import GOOD, HANGING, asking, events_of, pipeline, serving, text_of

CHAT = "/v1/chat/completions"


def until(condition, seconds=20.0):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gate(server):
    return server._service.gate


def test_an_answer_streams_piece_by_piece():
    second = threading.Event()
    rag = pipeline(("Ol", lambda: second.wait(20), *GOOD[1:]))
    with (
        serving(rag) as (url, _),
        httpx.stream("POST", url + CHAT, json=asking(stream=True)) as response,
    ):
        pieces = response.iter_text()
        first = next(pieces)
        assert '"Ol"' in first
        second.set()
        text = first + "".join(pieces)
    assert text_of(events_of(text)) == "Old."


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_its_generator(stream):
    rag = pipeline(HANGING)
    with serving(rag) as (url, server):
        with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=url) as client:
            client.post(CHAT, json=asking(stream=stream), timeout=0.5)
        until(lambda: rag.generator.ended == ["cancelled"])
        until(lambda: gate(server).working == 0)
        text = httpx.get(f"{url}/metrics").text
    status = 200 if stream else 499
    assert f'ragib_requests_total{{route="{CHAT}",status="{status}"}} 1.0' in text


def test_a_client_that_leaves_the_queue_makes_room():
    rag = pipeline(HANGING)
    with serving(rag, concurrency=1, queue=1) as (url, server), ThreadPoolExecutor() as pool:
        first = pool.submit(httpx.post, url + CHAT, json=asking(), timeout=2)
        until(lambda: gate(server).working == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url + CHAT, json=asking(), timeout=0.3)
        until(lambda: gate(server).waiting == 0)
        assert gate(server).working == 1
        with pytest.raises(httpx.ReadTimeout):
            first.result()
    assert rag.generator.ended == ["cancelled"]


def test_a_body_that_is_too_large_is_answered_though_it_was_not_read():
    with serving(pipeline(), max_body=1000) as (url, _):
        response = httpx.post(url + CHAT, content=b"x" * 50_000)
    assert response.status_code == 413


def test_what_is_in_flight_or_waits_at_the_end_is_answered():
    release = threading.Event()
    rag = pipeline((lambda: release.wait(20), *GOOD))
    with serving(rag, concurrency=2) as (url, server), ThreadPoolExecutor(5) as pool:
        requests = [pool.submit(httpx.post, url + CHAT, json=asking(), timeout=20) for _ in "12345"]
        until(lambda: (gate(server).working, gate(server).waiting) == (2, 3))
        server.should_exit = True
        until(lambda: server._service.draining)
        until(lambda: not server.servers[0].is_serving())
        with pytest.raises(httpx.ConnectError):
            httpx.get(url + "/health")
        release.set()
        responses = [request.result() for request in requests]
    assert [response.status_code for response in responses] == [200] * 5
    assert {response.headers["connection"] for response in responses} == {"close"}
    assert server._service.cut == 0


def test_a_connection_that_is_open_at_the_end_is_still_answered_once():
    with serving(pipeline()) as (url, server), httpx.Client(base_url=url) as client:
        assert client.get("/health").json()["status"] == "ok"
        server.should_exit = True
        until(lambda: server._service.draining)
        response = client.get("/health")
        assert (response.status_code, response.json()["status"]) == (503, "draining")
        assert response.headers["connection"] == "close"


@pytest.mark.parametrize("stream", [False, True])
def test_what_outlasts_the_grace_is_told_so(stream):
    script = HANGING if stream else (3600.0,)
    rag = pipeline(script)
    with serving(rag, grace=1) as (url, server), ThreadPoolExecutor(1) as pool:
        request = pool.submit(httpx.post, url + CHAT, json=asking(stream=stream), timeout=20)
        until(lambda: gate(server).working == 1)
        server.should_exit = True
        response = request.result()
    if stream:
        assert events_of(response.text)[-1]["error"]["code"] == "shutting_down"
    else:
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "shutting_down"
    assert rag.generator.ended == ["cancelled"]
    assert server._service.cut == 1


def test_many_at_once_all_get_their_own_answer():
    async def everybody(url):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            return await asyncio.gather(
                *(client.post("/search", json={"question": f"number {n}"}) for n in range(60))
            )

    with serving(pipeline(), concurrency=3) as (url, _):
        responses = asyncio.run(everybody(url))
    assert [r.json()["question"] for r in responses] == [f"number {n}" for n in range(60)]


STUCK = """
import os, time
from ragib.serve.listening import address_of, listen
from ragib.serve.running import serve
from ragib.serve.settings import Settings
from tests.serve.pipelines import pipeline

with listen("127.0.0.1", 0, ()) as listener:
    print(address_of(listener), flush=True)
    rag = pipeline((lambda: time.sleep(600),))
    print(serve(rag, Settings(deadline=0.5, grace=1), listener), flush=True)
os._exit(0)
"""


def test_work_that_never_ends_does_not_keep_the_server_from_ending():
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert httpx.post(url + CHAT, json=asking(), timeout=60).status_code == 504
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out.strip() == "Ended(cut=0, stuck=1)"
    assert process.returncode == 0
