"""`ragib push` to a server that speaks as Qdrant does, and what it says when something fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragib.config import StoreConfig
from ragib.errors import ConfigError, IndexDirError, StoreError
from ragib.indexes.index import Index
from ragib.indexes.qdrant import points
from ragib.indexes.qdrant.connect import connect
from ragib.indexes.qdrant.generation import open_index
from tests.cli.conftest import Run
from tests.qdrant_http import FakeServer, fake_qdrant

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]

QUIET = (
    "--set",
    "compressor.name=truncate",
    "--set",
    "compressor.keep=1",
    "--generator",
    "sentence",
)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_qdrant() as fake:
        yield fake


def on(server: FakeServer, **more: object) -> tuple[str, ...]:
    values = {"name": "qdrant", "url": server.url, **more}
    return tuple(w for k, v in values.items() for w in ("--set", f"retriever.store.{k}={v}"))


def test_push_then_ask(run: Run, sparse_index: Path, server: FakeServer) -> None:
    result = run("push", sparse_index, "--to", "qdrant", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "4 passages in idx-000001-" in result.stdout
    assert "idx leads there" in result.stdout
    native = run("ask", sparse_index, "who built the tower?", "--json", *QUIET)
    question = ("ask", sparse_index.name, "who built the tower?", "--json", *QUIET)
    found = run(*question, *on(server))
    assert found.exit_code == 0, found.output
    ours, theirs = json.loads(native.stdout), json.loads(found.stdout)
    for key in ("text", "citations", "evidence"):
        assert ours[key] == theirs[key]
    ids = [[hit["passage"]["doc_id"] for hit in value["hits"]] for value in (ours, theirs)]
    assert ids[0] == ids[1] and ids[0][0] == "tower"
    searched = run("search", sparse_index.name, "who built the tower?", "--json", *on(server))
    assert [hit["passage"]["doc_id"] for hit in json.loads(searched.stdout)["hits"]] == ids[0]


def test_filters_and_groups_over_the_wire(run: Run, sparse_index: Path, server: FakeServer) -> None:
    assert run("push", sparse_index, "--url", server.url, "--collection", "mine").exit_code == 0
    store = StoreConfig(name="qdrant", url=server.url, collection="mine")
    with open_index("anything", store) as index, Index.open(sparse_index) as native:
        for how in (
            {},
            {"allow": ("crown",)},
            {"where": {"year": {"gte": 1000}}},
            {"where": {"lang": {"lt": "e"}}},
            {"where": {"lang": {"ne": "de"}}, "allow": ("public", "crown")},
            {"where": {}},
        ):
            question = "old bridge moon tower"
            assert index.search(question, **how) == native.search(question, **how)
        assert list(index.passages()) == list(native.passages())
        assert index.info()["collection"].startswith("mine-000001-")


def test_json_tells_what_was_done(run: Run, sparse_index: Path, server: FakeServer) -> None:
    first = json.loads(run("push", sparse_index, "--url", server.url, "--json").stdout)
    assert (first["alias"], first["passages"], first["sent"]) == ("idx", 4, 4)
    assert first["url"] == server.url and first["removed"] == []
    again = json.loads(run("push", sparse_index, "--url", server.url, "--json").stdout)
    assert (again["sent"], again["present"], again["collection"]) == (0, 4, first["collection"])


def test_only_this_server_is_asked_and_with_the_key(
    run: Run, sparse_index: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "geheim"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("MY_KEY", "geheim")
    refused = run("push", sparse_index, "--url", server.url)
    assert refused.exit_code == 1
    assert "refuses the API key (status 401)" in refused.stderr
    assert "QDRANT_API_KEY" in refused.stderr
    done = run("push", sparse_index, "--url", server.url, "--api-key-env", "MY_KEY")
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("MY_KEY", "falsch")
    wrong = run("push", sparse_index, "--url", server.url, "--api-key-env", "MY_KEY")
    assert wrong.exit_code == 1
    assert "MY_KEY" in wrong.stderr and "falsch" not in wrong.output
    assert len(wrong.stderr.splitlines()) == 1


def test_a_server_that_fails_half_way(
    run: Run, sparse_index: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("push", sparse_index, "--url", server.url).exit_code == 0
    before = server.client.get_aliases().aliases
    monkeypatch.setattr(points, "_NUMBERS", 10)
    with Index.open(sparse_index) as index:
        index.delete(["mond"])
    writes = 0

    def fail(method: str, path: str) -> int | None:
        nonlocal writes
        if method != "PUT" or not path.endswith("/points"):
            return None
        writes += 1
        return 503 if writes == 2 else None

    server.fail = fail
    failed = run("push", sparse_index, "--url", server.url)
    assert failed.exit_code == 1
    assert (
        failed.stderr
        == f"ragib: {server.url}: the server answers with status 503: as the test wants\n"
    )
    assert server.client.get_aliases().aliases == before
    done = json.loads(run("push", sparse_index, "--url", server.url, "--json").stdout)
    assert (done["sent"], done["present"]) == (2, 1)
    assert server.client.get_aliases().aliases != before


def test_an_interrupt_leaves_the_alias_and_is_resumed(
    run: Run, sparse_index: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ragib.indexes.qdrant.push.switch", interrupt)
        stopped = run("push", sparse_index, "--url", server.url)
    assert stopped.exit_code == 130
    assert stopped.stderr == "ragib: interrupted; rerun the same command to resume\n"
    assert server.client.get_aliases().aliases == []
    done = json.loads(run("push", sparse_index, "--url", server.url, "--json").stdout)
    assert (done["sent"], done["present"]) == (0, 4)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--url", "http://127.0.0.1:9"), 1, "cannot be reached"),
        (("--url", "127.0.0.1:6333"), 2, "is not an address such as http://127.0.0.1:6333"),
        (("--url", "ftp://127.0.0.1"), 2, "is not an address"),
        (("--url", "http://127.0.0.1:x"), 2, "is not an address"),
        (("--url", "http://127.0.0.1:9", "--collection", "a/b"), 2, "cannot be the name"),
        (("--url", "http://127.0.0.1:9", "--to", "other"), 2, "'other' is not 'qdrant'"),
        ((), 2, "Missing option '--url'"),
    ],
)
def test_mistakes_are_one_line(
    run: Run, sparse_index: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = run("push", sparse_index, *arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_no_index_and_no_collection(run: Run, tmp_path: Path, server: FakeServer) -> None:
    result = run("push", tmp_path / "none", "--url", server.url)
    assert result.exit_code == 1
    assert "no such directory" in result.stderr
    asked = run("ask", "idx", "who?", *QUIET, *on(server))
    assert asked.exit_code == 1
    assert "there is no collection 'idx'; push an index there with `ragib push" in asked.stderr


def test_a_reader_two_generations_behind_is_told(
    run: Run, sparse_index: Path, server: FakeServer
) -> None:
    assert run("push", sparse_index, "--url", server.url).exit_code == 0
    store = StoreConfig(name="qdrant", url=server.url)
    with open_index("idx", store) as reader, Index.open(sparse_index) as native:
        for gone in ("mond", "tower"):
            native.delete([gone])
            assert run("push", sparse_index, "--url", server.url).exit_code == 0
        with pytest.raises(StoreError, match=r"status 404.*open the index again"):
            reader.search("tower")
        assert reader.refresh().search("tower") == []
    with pytest.raises(IndexDirError, match="has been closed"):
        reader.search("tower")


def test_a_server_that_is_no_qdrant(server: FakeServer) -> None:
    server.answer = lambda *request: {"nonsense": 1}  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"does not answer as Qdrant does .* check the address"):
        open_index("idx", StoreConfig(name="qdrant", url=server.url))


def test_offline_refuses(run: Run, sparse_index: Path, server: FakeServer) -> None:
    result = run("--offline", "push", sparse_index, "--url", server.url)
    assert result.exit_code == 1
    assert "needs the network, which is switched off" in result.stderr
    asked = run("--offline", "ask", "idx", "who?", *QUIET, *on(server))
    assert "needs the network, which is switched off" in asked.stderr
    assert server.log == []


def test_what_a_server_says_is_shown_on_one_line_without_control_characters(
    run: Run, sparse_index: Path, server: FakeServer
) -> None:
    def refuse(*request: object) -> None:
        raise ValueError("no\x1b[31m such\n\nthing " + "x" * 1000)

    server.answer = refuse  # type: ignore[method-assign]
    result = run("push", sparse_index, "--url", server.url)
    assert result.exit_code == 1
    assert "no [31m such thing xxx" in result.stderr
    assert len(result.stderr) < 400 and len(result.stderr.splitlines()) == 1


def test_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "schlüssel")
    with pytest.raises(ConfigError, match="QDRANT_API_KEY holds no API key"):
        connect("http://127.0.0.1:9", "QDRANT_API_KEY")
