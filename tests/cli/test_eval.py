"""`ragib eval`: a run directory from a grid and a data set, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from ragib.eval.rundir import load_results

pytest.importorskip("ir_measures")

Run = Callable[..., Result]

GRID = """\
base: {index: {kinds: [sparse]}, retriever: {using: sparse}, generator: {name: sentence}}
grid: {compressor: [{name: none}, {name: bm25-sentence, keep: 0.3}]}
latency: 0
"""


def record(number: int) -> dict[str, object]:
    text = f"Number{number} was made in Rome. It was cold."
    passage = {"id": f"p{number}", "title": "", "text": text, "gold": True,
               "answer_spans": [[text.index("Rome"), text.index("Rome") + 4]]}  # fmt: skip
    return {
        "id": f"q{number}",
        "question": f"Where was number{number} made?",
        "answers": ["Rome"],
        "passages": [passage],
    }


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture
def qa(tmp_path: Path) -> Path:
    path = tmp_path / "qa.jsonl"
    path.write_text("".join(json.dumps(record(n)) + "\n" for n in range(6)))
    return path


def test_a_run_and_its_table(run: Run, tmp_path: Path, grid: Path, qa: Path) -> None:
    out = tmp_path / "run"
    result = run("eval", grid, "--data", qa, "--out", out)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "f1/squad2" in lines[0]
    assert [line.split("  ")[0].strip() for line in lines[1:]] == ["none", "bm25-sentence keep=0.3"]
    assert f"ragib report {out}" in result.stderr
    assert len(load_results(out).pipelines) == 2
    again = run("eval", grid, "--data", qa, "--out", out, "--json")
    values = json.loads(again.stdout)
    assert [p["name"] for p in values["pipelines"]] == ["none", "bm25-sentence keep=0.3"]
    assert values["manifest"]["data"]["queries"] == 6


def test_a_cache_of_ones_own(run: Run, tmp_path: Path, grid: Path, qa: Path) -> None:
    call = ("eval", grid, "--data", qa, "--limit", 2, "--out", tmp_path / "run")
    assert run(*call, "--cache", tmp_path / "cache").exit_code == 0
    assert (tmp_path / "cache" / "stages.sqlite").is_file()
    assert not (tmp_path / "run" / "cache").exists()


def test_failures_are_told(
    run: Run, tmp_path: Path, grid: Path, qa: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragib.compressor.none import KeepAll

    def compress(self: object, questions: object) -> list[object]:
        raise RuntimeError("broken")

    monkeypatch.setattr(KeepAll, "compress", compress)
    result = run("eval", grid, "--data", qa, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert "none: 6 questions failed, such as q0: compress: RuntimeError: broken" in result.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"grid": "grid: {}\n"}, "the grid is empty"),
        ({"grid": "grid: {retriever.usin: [dense]}\n"}, "unknown key 'retriever.usin'"),
        ({"grid": "grid: {retriever.k: [1]}\nlatncy: 3\n"}, "did you mean 'latency'"),
        ({"grid": None}, "cannot be read"),
        ({"qa": "{\n"}, "qa.jsonl:1"),
        ({"qa": json.dumps(record(1)) + "\n" + json.dumps(record(1)) + "\n"}, "occurs twice"),
        ({"qa": None}, "no such file"),
        ({"out": "notes"}, "holds no run; name a new folder"),
        ({"out": "other"}, "holds another run, of other questions"),
    ],
)
def test_bad_input(
    run: Run, tmp_path: Path, grid: Path, qa: Path, changed: dict[str, str | None], said: str
) -> None:
    out = tmp_path / "run"
    for path in (grid, qa):
        if path.stem in changed:
            path.unlink()
            if (text := changed[path.stem]) is not None:
                path.write_text(text)
    if changed.get("out") == "notes":
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    if changed.get("out") == "other":
        assert run("eval", grid, "--data", qa, "--out", out, "--limit", 3).exit_code == 0
    before = sorted(out.rglob("*"))
    result = run("eval", grid, "--data", qa, "--out", out)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path for path in sorted(out.rglob("*")) if path.name != "run.lock"] == [
        path for path in before if path.name != "run.lock"
    ]
