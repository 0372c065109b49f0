"""The tables of the pages come out of a run as it was saved."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from synthetic_run import write_run

from ragib.eval.bench.grid import best, main
from ragib.eval.results import Interval, PipelineResult, RunResults


def test_a_run_becomes_a_section_of_a_page(tmp_path: Path) -> None:
    results = write_run(tmp_path / "run", count=3, queries=5)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- grid -->\nold\n<!-- /grid -->\nafter\n")
    readme = tmp_path / "readme.md"
    readme.write_text("<!-- grid -->\n<!-- /grid -->\n")
    arguments = [str(tmp_path / "run"), "--name", "grid", "--page", str(page)]
    arguments += ["--readme", str(readme)]
    outcome = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "old" not in text
    for pipeline in results.pipelines:
        [line] = [row for row in text.splitlines() if row.startswith(f"| {pipeline.name} |")]
        found = pipeline.measures["f1/squad2"]
        assert f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})" in line
    assert any(
        f"| {p.name} | {p.measures['f1/squad2'].mean:.3f} |" in readme.read_text()
        for p in results.pipelines
    )
    for rung in results.ladder:
        assert f"{rung.passages:,} passages" in text
        assert f"{rung.mean:.3f}" in text


def test_pipelines_that_another_beats_are_left_out() -> None:
    def pipeline(name: str, f1: float, p95: float, size: float) -> PipelineResult:
        return PipelineResult(
            name=name,
            settings={},
            measures={"f1/squad2": Interval(f1, f1, f1, 1)},
            latency={"total": {"p95": p95}},
            cost={"index_bytes": size},
        )

    pipelines = [
        pipeline("good", 0.9, 30.0, 5.0),
        pipeline("quick", 0.5, 10.0, 5.0),
        pipeline("worse", 0.8, 30.0, 5.0),
        pipeline("small", 0.8, 40.0, 1.0),
        pipeline("small too", 0.8, 40.0, 1.0),
        pipeline("beaten by two, each in one", 0.7, 20.0, 6.0),
    ]
    chosen = best(RunResults(manifest={}, pipelines=pipelines, comparisons=[]))
    assert [p.name for p in chosen] == [
        "quick",
        "beaten by two, each in one",
        "good",
        "small",
        "small too",
    ]
