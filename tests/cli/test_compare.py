"""`ragib compare`: exit code 3 for a regression, 0 for none, 2 for what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from ragib.eval.results import PipelineResult, QueryResult, RunResults
from ragib.eval.rundir import file_names, save_queries, save_results

Run = Callable[..., Result]


def save(folder: Path, wrong: range, count: int = 400) -> Path:
    rows = [
        QueryResult(
            f"q{i}", f"question {i}", ("a",), True, "a", False, None, (), (),
            {"em/squad2": float(i not in wrong), "nDCG@10": 1.0}, {}, {},
        )
        for i in range(count)
    ]  # fmt: skip
    results = RunResults({}, [PipelineResult("sparse [x]", {}, {}, {}, {})])
    [stem] = file_names(results.pipelines).values()
    save_queries(folder, stem, rows)
    save_results(folder, results)
    return folder


def test_a_regression_has_exit_code_3(run: Run, tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", range(100, 200)), save(tmp_path / "b", range(100, 212))
    result = run("compare", a, b)
    assert result.exit_code == 3
    [row] = [line for line in result.stdout.splitlines() if line.rstrip().endswith("worse")]
    assert row.startswith("sparse [x]")
    assert "-0.0300" in row
    assert f"{b} is significantly worse in 1 of 2" in result.stderr
    values = run("compare", a, b, "--measure", "em/squad2", "--json")
    assert values.exit_code == 3
    found = json.loads(values.stdout)
    assert [one["measure"] for one in found["worse"]] == ["em/squad2"]
    assert len(found["comparisons"]) == 1


def test_no_regression_has_exit_code_0(run: Run, tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", range(100, 200)), save(tmp_path / "b", range(103, 202))
    for pair in ((a, b), (b, a), (a, a)):
        result = run("compare", *pair)
        assert result.exit_code == 0
        assert "worse" not in result.output


def test_questions_of_one_run_only_are_told(run: Run, tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", range(9)), save(tmp_path / "b", range(9), 300)
    result = run("compare", a, b)
    assert result.exit_code == 0
    assert "100 queries are in one run only" in result.stderr


def test_what_cannot_be_compared(run: Run, tmp_path: Path) -> None:
    a = save(tmp_path / "a", range(9))
    broken = save(tmp_path / "b", range(9))
    (broken / "queries" / "01-sparse-x.jsonl").write_text("{\n")
    for arguments, said in (
        ((a, tmp_path / "none"), "no such file"),
        ((a, broken), "01-sparse-x.jsonl:1: is damaged"),
        ((a, a, "--measure", "em"), "unknown measure"),
    ):
        result = run("compare", *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
