"""`ragib serve` as a process of its own: it starts, answers, and ends on SIGTERM."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from ragib.extras import EXTRA_OF
from tests.generators.fake_openai import completion, event
from tests.generators.fake_openai import serving as fake_openai

pytest.importorskip("starlette")

LIGHT = ("--set", "compressor.name=bm25-sentence", "--set", "generator.name=sentence")
CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Who built the iron tower?"}]}


@contextmanager
def started(index, *options, **environment):
    """Start the command; gives its address and the process."""
    command = [sys.executable, "-m", "ragib", "serve", str(index), "--port", "0", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 120)
        url = process.stdout.readline().strip() if ready else ""
        assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=10)
        yield url, process
    finally:
        process.kill()
        process.communicate()


def ended(process):
    """Wait for the end; return the exit code and what stands on stderr."""
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return process.returncode, errors


def test_it_answers_and_ends_well(sparse_index):
    with started(sparse_index, *LIGHT) as (url, process):
        answer = httpx.post(url + CHAT, json=QUESTION).json()
        [choice] = answer["choices"]
        assert "Gustave Eiffel" in choice["message"]["content"]
        [annotation] = choice["message"]["annotations"]
        citation = annotation["citation"]
        text = "Gustave Eiffel built the iron tower. It is old."
        assert citation["doc_id"] == "tower"
        assert text[citation["start"] : citation["end"]] == citation["quote"]
        asked = {"question": "hidden gold"}
        groups = {"X-Ragib-Groups": "crown"}
        seen = httpx.post(url + "/search", json=asked, headers=groups).text
        assert "secret" in seen
        assert "secret" not in httpx.post(url + "/search", json=asked).text
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "Ctrl-C" in errors


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_slow_request_waits_for_its_answer(sparse_index, sent):
    with fake_openai() as fake, ThreadPoolExecutor(1) as pool:
        fake.then([event("Gustave "), 1.5, event("Eiffel"), b"data: [DONE]\n\n"])
        options = ("--set", "generator.name=openai", "--set", "generator.model=m",
                   "--set", f"generator.base_url={fake.url}")  # fmt: skip
        with started(sparse_index, *LIGHT[:2], *options) as (url, process):
            request = pool.submit(httpx.post, url + CHAT, json=QUESTION, timeout=60)
            while not fake.busy:
                assert not request.done()
            process.send_signal(sent)
            response = request.result()
            code, _ = ended(process)
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Gustave Eiffel"
    assert code == 0


def test_what_outlasts_the_grace_is_an_exit_code(sparse_index):
    with fake_openai() as fake, ThreadPoolExecutor(1) as pool:
        fake.then([20.0]).then(completion("late"))
        options = ("--set", "generator.name=openai", "--set", "generator.model=m",
                   "--set", f"generator.base_url={fake.url}", "--grace", "0.5")  # fmt: skip
        with started(sparse_index, *LIGHT[:2], *options) as (url, process):
            request = pool.submit(httpx.post, url + CHAT, json=QUESTION, timeout=60)
            while not fake.busy:
                assert not request.done()
            process.send_signal(signal.SIGTERM)
            assert request.result().status_code == 503
            code, errors = ended(process)
    assert code == 1
    assert "1 requests were not answered" in errors


def test_a_backend_that_is_not_there_is_a_clear_error(sparse_index):
    options = ("--set", "generator.name=openai", "--set", "generator.model=m",
               "--set", "generator.base_url=http://127.0.0.1:9/v1",
               "--set", "generator.retries=0")  # fmt: skip
    with started(sparse_index, *LIGHT[:2], *options) as (url, _):
        response = httpx.post(url + CHAT, json=QUESTION, timeout=60)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "generation_failed"


def test_keys_are_asked_for(sparse_index):
    with started(sparse_index, *LIGHT, "--api-key-env", "KEYS", KEYS="s3cret") as (url, process):
        assert httpx.get(url + "/v1/models").status_code == 401
        good = httpx.get(url + "/v1/models", headers={"Authorization": "Bearer s3cret"})
        assert good.status_code == 200
        process.send_signal(signal.SIGTERM)
        code, errors = ended(process)
    assert code == 0
    assert "s3cret" not in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "--api-key-env"),
        (("--api-key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("--set", "generator.nam=reader"), "did you mean"),
        (("--port", "70000"), "70000"),
        (("--concurrency", "0"), "concurrency"),
        (("--deadline", "0"), "deadline"),
    ],
)
def test_bad_options_are_told_at_once(run, sparse_index, options, message):
    result = run("serve", sparse_index, *options)
    assert result.exit_code == 2
    assert message in result.output


def test_no_index_is_told(run, tmp_path):
    result = run("serve", tmp_path / "none", *LIGHT)
    assert result.exit_code == 1
    assert "none" in result.output


def test_without_the_extra_it_says_what_to_install(run, sparse_index, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("serve", sparse_index)
    assert result.exit_code == 1
    assert "pip install 'ragib[serve]'" in result.output
    assert {EXTRA_OF[name] for name in ("starlette", "prometheus_client")} == {"serve"}


def test_the_help_has_an_example(run):
    result = run("serve", "--help")
    assert result.exit_code == 0
    assert "ragib serve idx" in result.output
    assert json.dumps(result.output)
