"""The benchmark of opening an index, small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragib.errors import InputError
from ragib.eval.bench import opening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="weighs what Linux counts")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"_id": f"d{i}", "text": f"tower {i} by the river"} for i in range(30)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "tower 7"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td7\t1\n")
    return tmp_path


def test_processes_are_weighed_while_all_of_them_hold_the_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WORKERS", 2)
    page = folder / "page.md"
    page.write_text("<!-- opening -->\n<!-- /opening -->\n")
    done = CliRunner().invoke(opening.main, ["--data", str(folder), "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert "30 passages, sparse" in page.read_text()
    rows = json.loads((folder / "results" / "opening.json").read_text())["rows"]
    assert [len(row["each"]) for row in rows] == [1, 2]
    for row in rows:
        for each in row["each"]:
            assert each["open_s"] > 0
            searched = each["searched"]
            assert 0 < searched["private"] <= searched["pss"] <= searched["rss"]
            assert searched["rss"] > 10e6


def test_a_process_that_fails_ends_the_others(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="a process that opened it failed"):
        opening.weigh(folder, ["tower"], 2)
    assert "not an index" in capfd.readouterr().err


def test_a_system_that_does_not_say_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "_ROLLUP", tmp_path / "none")
    with pytest.raises(InputError, match="needs Linux"):
        opening.memory()
