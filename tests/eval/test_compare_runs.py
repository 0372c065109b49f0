"""Comparing runs: a planted regression is found, another seed is not one."""

import random
from dataclasses import replace

import pytest

from ragib.errors import InputError
from ragib.eval.compare import against_first, compare_runs, is_worse
from ragib.eval.results import Comparison, PipelineResult, QueryResult, RunResults
from ragib.eval.rundir import file_names, save_queries, save_results

QUERIES = 1500


def row(number: int, measures: dict[str, float]) -> QueryResult:
    return QueryResult(
        f"q{number}", f"question {number}", ("a",), True, "a", False, None, (), (),
        measures, {}, {}, cluster=f"d{number // 3}",
    )  # fmt: skip


def save(folder, pipelines: dict[str, list[QueryResult]]):
    results = RunResults({}, [PipelineResult(n, {}, {}, {}, {}) for n in pipelines])
    for name, stem in file_names(results.pipelines).items():
        save_queries(folder, stem, pipelines[name])
    save_results(folder, results)
    return folder


def answers(seed: int = 0) -> list[bool]:
    generator = random.Random(seed)
    return [generator.random() < 0.6 for _ in range(QUERIES)]


def rerun(right: list[bool], seed: int, share: float = 0.04) -> list[bool]:
    """Let some questions come out the other way, as often for the better as for the worse."""
    generator = random.Random(seed)
    chosen = generator.sample(range(len(right)), int(share * len(right)))
    return [bool(generator.getrandbits(1)) if i in set(chosen) else x for i, x in enumerate(right)]


def worse(right: list[bool], points: int, seed: int = 0) -> list[bool]:
    lost = set(
        random.Random(seed).sample(
            [i for i, x in enumerate(right) if x], points * len(right) // 100
        )
    )
    return [x and i not in lost for i, x in enumerate(right)]


def rows(right: list[bool]) -> list[QueryResult]:
    return [
        row(i, {"em/squad2": float(x), "f1/squad2": 0.5 + x / 2, "TFR/dpr": float(not x)})
        for i, x in enumerate(right)
    ]


def test_a_planted_regression_is_found(tmp_path):
    right = answers()
    a = save(tmp_path / "a", {"x": rows(right), "y": rows(right)})
    b = save(tmp_path / "b", {"y": rows(rerun(worse(right, 3), 1)), "x": rows(rerun(right, 2))})
    found = compare_runs(a, b)
    assert found.pairs == [("x", "x"), ("y", "y")]
    assert {(one.b, one.measure) for one in found.worse} == {("y", "em/squad2"), ("y", "f1/squad2")}
    [em] = [one for one in found.worse if one.measure == "em/squad2"]
    assert em.difference == pytest.approx(-0.03, abs=0.012)
    assert em.low < em.difference < em.high < 0
    assert em.p <= em.p_holm < 0.05


def test_an_improvement_is_none(tmp_path):
    right = answers()
    a = save(tmp_path / "a", {"x": rows(worse(right, 3))})
    b = save(tmp_path / "b", {"x": rows(right)})
    found = compare_runs(a, b)
    assert found.worse == []
    assert all(one.p_holm < 0.05 for one in found.comparisons)


@pytest.mark.parametrize("seed", range(4))
def test_another_seed_is_no_regression(tmp_path, seed):
    right = answers(seed)
    names = [f"p{i}" for i in range(4)]
    a = save(tmp_path / "a", {name: rows(rerun(right, 10 * seed)) for name in names})
    again = {name: rows(rerun(right, 10 * seed + i)) for i, name in enumerate(names, 1)}
    found = compare_runs(a, save(tmp_path / "b", again))
    assert len(found.comparisons) == 8
    assert found.worse == []


def test_lower_is_better_for_some(tmp_path):
    right = answers()
    a = save(tmp_path / "a", {"x": rows(right)})
    b = save(tmp_path / "b", {"x": rows(worse(right, 5))})
    [flips] = compare_runs(a, b, ["TFR/dpr"]).worse
    assert flips.difference > 0
    assert compare_runs(b, a, ["TFR/dpr"]).worse == []


def test_the_only_pipeline_of_each_is_compared_whatever_its_name(tmp_path):
    a = save(tmp_path / "a", {"old": rows(answers())})
    b = save(tmp_path / "b", {"new": rows(answers())})
    found = compare_runs(a, b)
    assert found.pairs == [("old", "new")]
    assert all(one.difference == 0 and one.p == 1 for one in found.comparisons)


def test_only_questions_of_both_are_compared(tmp_path):
    right = answers()
    a = save(tmp_path / "a", {"x": rows(right)[:1000]})
    b = save(tmp_path / "b", {"x": rows(worse(right, 50))[900:]})
    found = compare_runs(a, b)
    assert found.notes == ["x: 1400 queries are in one run only and are left out"]
    [em] = [one for one in found.comparisons if one.measure == "em/squad2"]
    assert em.difference <= 0
    with pytest.raises(InputError, match="no query of 'x' is in both"):
        compare_runs(a, save(tmp_path / "c", {"x": rows(right)[1000:]}))


def test_runs_of_other_questions(tmp_path):
    a = save(tmp_path / "a", {"x": rows(answers()[:9])})
    other = [replace(one, question="something else") for one in rows(answers()[:9])]
    b = save(tmp_path / "b", {"x": other})
    with pytest.raises(InputError, match="query 'q0' is another question in each"):
        compare_runs(a, b)


def test_what_cannot_be_compared(tmp_path):
    few = rows(answers()[:9])
    a = save(tmp_path / "a", {"x": few, "y": few})
    b = save(tmp_path / "b", {"z": few, "w": few})
    with pytest.raises(InputError, match=r"no pipeline has the same name in both: .* has x, y;"):
        compare_runs(a, b)
    with pytest.raises(InputError, match="nDCG@10 is not in the rows of 'x'"):
        compare_runs(a, a, ["nDCG@10"])
    with pytest.raises(InputError, match="did you mean 'em/squad2'"):
        compare_runs(a, a, ["em/squad"])
    with pytest.raises(InputError, match="cannot be paired"):
        compare_runs(a, a, ["AURC/dpr"])
    with pytest.raises(InputError, match=r"results\.json: no such file"):
        compare_runs(a, tmp_path / "none")


def test_within_a_run_all_are_held_against_the_first():
    right = answers()
    found = against_first({"base": rows(right), "same": rows(right), "bad": rows(worse(right, 5))})
    assert {(one.a, one.b) for one in found} == {("base", "same"), ("base", "bad")}
    assert {one.measure for one in found} == {"em/squad2", "f1/squad2"}
    assert {one.b for one in found if is_worse(one)} == {"bad"}
    assert against_first({}) == []


def test_neither_way_is_worse_of_what_has_no_better_way():
    assert not is_worse(Comparison("a", "b", "kept", -0.5, -0.6, -0.4, 1e-4, 1e-4))
