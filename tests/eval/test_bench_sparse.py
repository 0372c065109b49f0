"""The benchmark of the sparse index, on a handful of documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragib.eval.bench import sparse

pytest.importorskip("numba")
pytest.importorskip("rank_bm25")

WORDS = ("tower", "river", "poem", "bridge", "moon", "iron", "king")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {
            "_id": f"d{i}",
            "title": "",
            "text": f"The {WORDS[i % 7]} of number{i} by a {WORDS[i % 5]}.",
        }
        for i in range(40)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    queries = {"q0": "the", "q1": "bridge king", "q2": "poem moon"}
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in queries.items())
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q0\td1\t1\nq1\td4\t1\nq2\td3\t1\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- sparse -->\n<!-- /sparse -->\n")
    return tmp_path


def test_all_ways_are_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "ADDED", 5)
    monkeypatch.setattr(sparse, "apart", lambda function, *arguments: function(*arguments))
    page = folder / "page.md"
    arguments = ["--data", str(folder), "--rounds", "1", "--slow", "1", "--page", str(page)]
    outcome = CliRunner().invoke(sparse.main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0
    result = json.loads((folder / "results" / "sparse.json").read_text())
    rows = {row["way"]: row for row in result["queries"]}
    assert next(iter(rows)) == sparse.OURS
    assert rows[sparse.OURS]["same_scores"] is True
    assert rows[sparse.OURS]["over_ours"] == 1
    assert (rows[sparse.NUMBA]["questions"], rows["rank-bm25"]["questions"]) == (2, 1)
    assert rows["rank-bm25"]["batch_ms"] is None
    assert result["passages"] == 30
    assert len(result["adding"]) == len(result["rebuild_s"]) == 2
    text = page.read_text()
    assert "scores of ragib, compiled and bm25s, numba: the same" in text
    assert "| hot |" in text and "| bm25s, numpy |" in text
