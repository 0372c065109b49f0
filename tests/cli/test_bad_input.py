"""Bad input of every verb: one line that names it, exit code 1 or 2, and nothing left behind."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]

NEED_AN_INDEX = [
    ("add", "{dir}", "{corpus}"),
    ("delete", "{dir}", "--ids", "{ids}"),
    ("compact", "{dir}"),
    ("verify", "{dir}"),
    ("info", "{dir}"),
    ("search", "{dir}", "q"),
    ("search", "{dir}", "--queries", "{queries}", "--run", "{out}"),
    ("ask", "{dir}", "q"),
]


@pytest.fixture
def files(tmp_path: Path, corpus: Path) -> dict[str, Path]:
    ids, queries = tmp_path / "ids.txt", tmp_path / "queries.jsonl"
    ids.write_text("tower\n")
    queries.write_text('{"_id": "1", "text": "tower"}\n')
    return {"corpus": corpus, "ids": ids, "queries": queries, "out": tmp_path / "out.trec"}


def _one_line(result: Result, *said: str) -> None:
    assert result.exit_code in (1, 2), result.output
    assert result.stderr.startswith("ragib: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr


@pytest.mark.parametrize("call", NEED_AN_INDEX, ids=lambda call: " ".join(call[:3:2]))
@pytest.mark.parametrize("state", ["missing", "empty", "a file", "no index"])
def test_directory_that_is_no_index(
    run: Run, tmp_path: Path, files: dict[str, Path], call: tuple[str, ...], state: str
) -> None:
    directory = tmp_path / "directory"
    if state == "a file":
        directory.write_text("x")
    elif state != "missing":
        directory.mkdir()
        if state == "no index":
            (directory / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = run(*(word.format(dir=directory, **files) for word in call))
    _one_line(result, str(directory))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("verb", ["index", "add"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.jsonl", b'{"_id": "a", "text": "x"}\n{"_id": "b", "te\n', "c.jsonl:2"),
        ("c.jsonl", b'{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "c.jsonl:2"),
        ("c.jsonl", b'{"_id": "a", "text": ""}\n', "c.jsonl:1"),
        ("c.jsonl", b'{"_id": "a"}\n', "c.jsonl:1"),
        ("c.jsonl", b'{"_id": "a", "text": "\xff\xfe"}\n', "c.jsonl:1"),
        ("c.jsonl", b"", "c.jsonl"),
        ("c.jsonl.gz", gzip.compress(b'{"_id": "a", "text": "x"}\n' * 99)[:-20], "c.jsonl.gz"),
        ("c.bin", bytes(range(256)), "c.bin"),
    ],
)
def test_corpus_that_cannot_be_read(
    run: Run,
    sparse_index: Path,
    tmp_path: Path,
    verb: str,
    name: str,
    content: bytes,
    said: str,
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    if verb == "index":
        result = run("index", path, "--out", tmp_path / "new", "--kind", "sparse")
    else:
        result = run("add", sparse_index, path)
    _one_line(result, said)
    assert result.exit_code == 2
    assert run("info", tmp_path / "new").exit_code != 0
    assert run("verify", sparse_index).exit_code == 0


def test_missing_corpus(run: Run, tmp_path: Path) -> None:
    result = run("index", tmp_path / "none.jsonl", "--out", tmp_path / "i")
    _one_line(result, "none.jsonl")
    assert result.exit_code == 2
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "index.chunk.max_tokns=9"), "did you mean 'max_tokens'?"),
        (("--set", "index.chunk.max_tokens=nine"), "index.chunk.max_tokens"),
        (("--set", "nonsense"), "KEY=VALUE"),
        (("--config", "{tmp}/none.yaml"), "none.yaml"),
        (("--config", "{tmp}"), "cannot be read"),
    ],
)
@pytest.mark.parametrize("verb", ["index", "ask"])
def test_configuration(
    run: Run,
    sparse_index: Path,
    corpus: Path,
    tmp_path: Path,
    verb: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    call = (
        ("index", corpus, "--out", tmp_path / "i")
        if verb == "index"
        else ("ask", sparse_index, "q")
    )
    result = run(*call, *(word.format(tmp=tmp_path) for word in options))
    _one_line(result, said)
    assert result.exit_code == 2
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("verb", ["search", "ask"])
@pytest.mark.parametrize("question", ["", "  \n"])
def test_empty_question(run: Run, sparse_index: Path, verb: str, question: str) -> None:
    result = run(verb, sparse_index, question)
    _one_line(result, "empty")
    assert result.exit_code == 2


@pytest.mark.parametrize("verb", ["search", "ask"])
def test_condition(run: Run, sparse_index: Path, verb: str) -> None:
    _one_line(run(verb, sparse_index, "q", "--where", "lang"), "--where lang")


def test_kind_that_the_index_does_not_have(run: Run, sparse_index: Path) -> None:
    result = run("search", sparse_index, "q", "--using", "dense")
    _one_line(result, "dense")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("q", "--queries", "f", "--run", "g"),
        ("--queries", "f"),
        ("--run", "g"),
        ("q", "--run", "g"),
        ("q", "-k", "0"),
        ("q", "-k", "many"),
        ("q", "--using", "magic"),
    ],
)
def test_search_usage(run: Run, sparse_index: Path, options: tuple[str, ...]) -> None:
    result = run("search", sparse_index, *options)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no queries"),
        (b'{"_id": "1"\n', "q.jsonl:1"),
        (b'["1", "x"]\n', "q.jsonl:1"),
        (b'{"_id": "1", "text": "x"}\n{"_id": "1", "text": "y"}\n', "q.jsonl:2"),
        (b'{"_id": "1", "text": " "}\n', "'1' is empty"),
        (b'{"_id": "1", "text": "\xff"}\n', "UTF-8"),
    ],
)
def test_queries(run: Run, sparse_index: Path, tmp_path: Path, content: bytes, said: str) -> None:
    queries, out = tmp_path / "q.jsonl", tmp_path / "o.trec"
    queries.write_bytes(content)
    result = run("search", sparse_index, "--queries", queries, "--run", out)
    _one_line(result, said)
    assert result.exit_code == 2
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\xff"])
def test_ids(run: Run, sparse_index: Path, content: bytes) -> None:
    result = run("delete", sparse_index, "--ids", "-", stdin=content)
    _one_line(result)
    assert result.exit_code == 2


def test_unwritable_output(run: Run, sparse_index: Path, files: dict[str, Path]) -> None:
    out = files["out"].parent / "none" / "out.trec"
    _one_line(run("search", sparse_index, "--queries", files["queries"], "--run", out), "written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder(run: Run, corpus: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    _one_line(run("index", corpus, "--out", tmp_path / "i", "--kind", "sparse"), "denied")


def test_folder_with_something_else_in_it(run: Run, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    _one_line(run("index", corpus, "--out", tmp_path, "--kind", "sparse", "--overwrite"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_generator_without_a_model(run: Run, sparse_index: Path) -> None:
    options = ("--set", "compressor.name=bm25-sentence", "--generator", "transformers")
    _one_line(run("ask", sparse_index, "iron tower", *options), "model")


def test_unknown_compressor(run: Run, sparse_index: Path) -> None:
    result = run("ask", sparse_index, "q", "--set", "compressor.name=bm25-sentense")
    _one_line(result, "did you mean 'bm25-sentence'?")
