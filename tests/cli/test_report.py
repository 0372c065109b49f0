"""`ragib report`: one file, or one line that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.eval.synthetic_run import write_run

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", 3, 5)
    return tmp_path / "run"


def test_a_report_lies_where_it_was_asked_for(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("report", folder, "-o", tmp_path / "out.html")
    assert result.exit_code == 0, result.output
    assert "3 pipelines, 5 of 5 queries" in result.stdout
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")


def test_or_in_the_folder_of_the_run(run: Run, folder: Path) -> None:
    result = run("report", folder, "--json")
    said = json.loads(result.stdout)
    assert said["report"] == str(folder / "report.html")
    assert said["bytes"] == (folder / "report.html").stat().st_size
    assert (said["pipelines"], said["queries"], said["problems"]) == (3, 5, [])


def test_what_is_left_out_is_said(run: Run, folder: Path) -> None:
    (folder / "passages.jsonl").unlink()
    result = run("report", folder)
    assert result.exit_code == 0
    assert result.stderr.startswith("ragib: left out: ")
    assert "passages.jsonl: no such file" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"{", "not valid JSON"), (b'{"format": 1}', "manifest")],
)
def test_a_run_that_cannot_be_read_is_one_line(
    run: Run, folder: Path, content: bytes | None, said: str
) -> None:
    path = folder / "results.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    result = run("report", folder, "-o", folder / "out.html")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert f"{path}: " in result.stderr
    assert said in result.stderr
    assert not (folder / "out.html").exists()


def test_a_place_that_cannot_be_written(run: Run, folder: Path) -> None:
    result = run("report", folder, "-o", folder / "results.json" / "out.html")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    assert result.stderr.count("\n") == 1
