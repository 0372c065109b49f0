"""Keys, foreign pages, and where a server may listen."""

from __future__ import annotations

import pytest

from ragib.addresses import is_loopback
from ragib.errors import InputError, OfflineError, RagibError
from ragib.serve.listening import address_of, listen
from ragib.serve.settings import read_keys
from tests.serve.pipelines import app_of, asking, call

PROTECTED = [
    ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/search"),
    ("POST", "/compress"), ("GET", "/metrics"), ("GET", "/nowhere"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic right", "right", "Bearer right x",
     "Bearer righ", "Bearer rightt", "Bearer \xe9"],
)  # fmt: skip
def test_without_a_right_key_there_is_nothing(method, path, header):
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    app = app_of(keys=("right", "other"))
    response = call(app, method, path, json=asking(), headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert "right" not in response.text


@pytest.mark.parametrize("key", ["right", "other"])
def test_any_of_the_keys_opens(key):
    app = app_of(keys=("right", "other"))
    headers = {"Authorization": f"bearer {key}", "Host": "rag.example", "Origin": "https://a.b"}
    response = call(app, "POST", "/search", json={"question": "river?"}, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/health", "/favicon.ico"])
def test_the_page_and_the_health_need_no_key(path):
    assert call(app_of(keys=("right",)), path=path).status_code in (200, 204)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://[bad"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8080"},
    ],
)
def test_a_server_without_keys_refuses_foreign_pages(headers):
    response = call(app_of(), "POST", "/search", json={"question": "river?"}, headers=headers)
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:8080", "Origin": "http://localhost:8080"},
        {"Host": "[::1]:8080"},
        {"Host": "127.0.0.2"},
    ],
)
def test_a_server_without_keys_answers_this_machine(headers):
    response = call(app_of(), "POST", "/search", json={"question": "river?"}, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/search", "/nowhere"])
def test_every_response_forbids_what_it_does_not_need(path):
    response = call(app_of(), path=path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in response.headers


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_listening_to_others_needs_a_key(host):
    with pytest.raises(InputError, match="--api-key-env"):
        listen(host, 0, ())


def test_listening_to_others_is_use_of_the_network(monkeypatch):
    monkeypatch.setenv("RAGIB_OFFLINE", "1")
    with pytest.raises(OfflineError, match="listening on"):
        listen("0.0.0.0", 0, ("key",))
    with listen("127.0.0.1", 0, ()) as listener:
        assert address_of(listener).startswith("http://127.0.0.1:")


def test_a_key_allows_listening_to_others(monkeypatch):
    monkeypatch.delenv("RAGIB_OFFLINE", raising=False)
    with listen("0.0.0.0", 0, ("key",)) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"


def test_a_port_that_is_taken_and_a_host_that_is_none_are_told():
    with listen("127.0.0.1", 0, ()) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(RagibError, match=f"port {port}: "):
            listen("127.0.0.1", port, ())
    with pytest.raises(InputError, match="no address"):
        listen("not a host", 0, ("key",))


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example", False),
     ("", False)],
)  # fmt: skip
def test_loopback_is_known(host, here):
    assert is_loopback(host) is here


def test_keys_come_from_a_variable(monkeypatch):
    monkeypatch.setenv("KEYS", " one, two ,,")
    assert read_keys("KEYS") == ("one", "two")
    assert read_keys(None) == ()
    for value in ("", " , ", "a b", "schl\u00fcssel"):
        monkeypatch.setenv("KEYS", value)
        with pytest.raises(InputError, match="KEYS"):
            read_keys("KEYS")
    monkeypatch.delenv("KEYS")
    with pytest.raises(InputError, match="holds no key"):
        read_keys("KEYS")
