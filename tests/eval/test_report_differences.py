"""What the page holds of single queries: the most telling ones, within bounds, offsets intact."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ragib.eval.report import differences as module
from ragib.eval.report.differences import differences, utf16
from ragib.eval.report.html import clean
from ragib.eval.report.reading import RunData, read_run
from ragib.eval.results import PipelineResult, QueryResult, RunResults
from ragib.types import Passage
from tests.eval.synthetic_run import HOSTILE, write_run

MEASURE = "f1/squad2"


def row(id: str, score: float = 0.0, answer: str = "a", **values: object) -> QueryResult:
    made = QueryResult(id, f"{id}?", ("right",), True, answer, False, None, (("p", 1.0),), (),
                       {MEASURE: score}, {}, {})  # fmt: skip
    return replace(made, **values)


def run_of(*rows: list[QueryResult], text: str = "Text.") -> RunData:
    named = [PipelineResult(f"pipeline {i}", {}, {}, {}, {}) for i in range(len(rows))]
    by_id = [{one.id: one for one in some} for some in rows]
    return RunData(RunResults({}, named), by_id, {"p": Passage("p", "doc", text)})


@given(st.text(st.characters() | st.sampled_from("\U0001f600é中")), st.data())
def test_offsets_count_as_javascript_counts(text, data):
    offset = data.draw(st.integers(0, len(text)))
    assert utf16(text, offset) == len(text[:offset].encode("utf-16-le", "surrogatepass")) // 2


@given(st.text(max_size=40) | st.sampled_from(HOSTILE), st.data())
def test_spans_hold_what_was_kept(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    run = run_of([row("q", evidence=(("p", start, end, 0.5),))], text=text)
    shown = differences(run, MEASURE, 0)
    [number, first, last] = shown["queries"][0]["by"][0]["e"][0]
    units = shown["passages"][number][2].encode("utf-16-le")[2 * first : 2 * last]
    assert units.decode("utf-16-le") == clean(text)[start:end]


def test_the_largest_differences_come_first():
    run = run_of(
        [row("same", 1.0), row("small", 0.5), row("large", 0.0), row("words", 1.0, "x")],
        [row("same", 1.0), row("small", 0.6), row("large", 1.0), row("words", 1.0, "y")],
    )
    shown = differences(run, MEASURE, 1)
    assert [query["id"] for query in shown["queries"]] == ["large", "small", "words", "same"]
    assert (shown["total"], shown["best"], shown["measure"]) == (4, 1, MEASURE)


def test_a_row_that_is_missing_is_null_and_an_error_is_told():
    run = run_of([row("q1"), row("q2", error="it broke")], [row("q2", abstained=True)])
    by = {query["id"]: query["by"] for query in differences(run, MEASURE, 0)["queries"]}
    assert by["q1"][1] is None
    assert by["q2"][0]["x"] == "it broke"
    assert by["q2"][1]["n"] == 1
    assert "x" not in by["q2"][1]


def test_a_score_that_is_no_number_is_left_out():
    run = run_of([row("q", float("nan"))], [row("q", 1.0)])
    (query,) = differences(run, MEASURE, 0)["queries"]
    assert ["s" in entry for entry in query["by"]] == [False, True]


def test_passages_are_there_once_and_only_those_that_are_shown(tmp_path):
    write_run(tmp_path, 4, 12)
    run = read_run(tmp_path)
    shown = differences(run, MEASURE, 0)
    used = {n for query in shown["queries"] for one in query["by"] for n in one["h"]}
    assert used == set(range(len(shown["passages"])))
    assert len({json.dumps(passage) for passage in shown["passages"]}) == len(used)


def test_number_and_size_are_bounded(tmp_path, monkeypatch):
    write_run(tmp_path, 4, 30)
    run = read_run(tmp_path)
    every = differences(run, MEASURE, 0)
    monkeypatch.setattr(module, "MOST_QUERIES", 10)
    assert differences(run, MEASURE, 0)["queries"] == every["queries"][:10]
    monkeypatch.setattr(module, "MOST_BYTES", 40_000)
    few = differences(run, MEASURE, 0)
    assert 1 <= len(few["queries"]) < 10
    assert len(json.dumps([few["queries"], few["passages"]])) < 45_000
    assert few["total"] == 30


def test_a_text_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(module, "MOST_LETTERS", 40)
    run = run_of([row("q", answer="b" * 50, evidence=(("p", 30, 90, 1.0),))], text="c" * 100)
    shown = differences(run, MEASURE, 0)
    assert shown["queries"][0]["by"][0]["a"] == "b" * 10 + " …"
    assert shown["passages"] == [["", "doc", "c" * 40, 60]]
