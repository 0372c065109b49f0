"""`ragib info --measure`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_measured_as_text_and_json(run: Run, sparse_index: Path) -> None:
    text = run("info", sparse_index, "--measure")
    assert text.exit_code == 0, text.output
    lines = {line.split()[0]: line.split()[1] for line in text.stdout.splitlines()}
    assert lines["documents"] == "4"
    assert lines["measured.kinds.sparse.recall@10"] == "1.0"
    assert {"measured.kinds.sparse.p95_ms", "measured.kinds.sparse.memory_bytes"} <= set(lines)
    facts = json.loads(run("info", sparse_index, "--measure", "--json").stdout)
    assert facts["measured"]["queries"] == 4
    assert facts["measured"]["drawn"] is True
    assert "measured" not in json.loads(run("info", sparse_index, "--json").stdout)


def test_with_questions_of_ones_own(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    queries = tmp_path / "q.jsonl"
    queries.write_text('{"_id": "1", "text": "iron tower"}\n{"_id": "2", "text": "moon"}\n')
    result = run("info", sparse_index, "--measure", "--queries", queries, "--json")
    measured = json.loads(result.stdout)["measured"]
    assert (measured["queries"], measured["drawn"]) == (2, False)
    assert measured["kinds"]["sparse"]["recall@10"] == 1


def test_what_cannot_be_measured_is_one_line(run: Run, sparse_index: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for options in (
        ("--queries", empty),
        ("--measure", "--queries", empty),
        ("--measure", "--queries", tmp_path / "none.jsonl"),
    ):
        result = run("info", sparse_index, *options)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert "ragib" in result.stderr or "Usage" in result.stderr
