"""Runs of a grid: all is there, work is done once, and what fails costs no more than itself."""

import errno
import json
import os
from collections import Counter
from pathlib import Path

import pytest
import yaml
from qa_records import record, write

from ragib.errors import ConfigError, InputError, RagibError
from ragib.eval import harness
from ragib.eval.grid import parse_grid
from ragib.eval.measures import retrieval
from ragib.eval.read import read_eval_set
from ragib.eval.rundir import file_names, load_passages, load_queries, load_results
from ragib.generators.base import Generation, Quote
from ragib.generators.sentence import SentenceGenerator
from ragib.indexes.index import Index

pytest.importorskip("ir_measures")

BASE = {
    "index": {"kinds": ["sparse"]},
    "retriever": {"using": "sparse", "k": 2},
    "compressor": {"name": "none"},
    "generator": {"name": "sentence"},
}
TWO = {"compressor": [{"name": "none"}, {"name": "bm25-sentence", "keep": 0.3}]}


def grid(lists=None, **more):
    values = {"latency": 0, **more, "base": BASE, "grid": lists or {"retriever.k": [2]}}
    return parse_grid(yaml.safe_dump(values, sort_keys=False), "grid.yaml")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "qa.jsonl"
    return read_eval_set(write(path, [record(n, answerable=n % 5 != 4) for n in range(20)]))


class Calls:
    """A generator that counts, and fails where it is told to."""

    name = "calls"

    def __init__(self):
        self.questions = Counter()
        self.fails = {}

    def generate(self, requests):
        for request in requests:
            for word, error in self.fails.items():
                if word in request.question.split():
                    raise error
        self.questions.update(request.question for request in requests)
        return SentenceGenerator().generate(requests)


@pytest.fixture
def calls(monkeypatch):
    generator = Calls()
    monkeypatch.setattr("ragib.pipeline.load_generator", lambda config: generator)
    return generator


@pytest.fixture
def builds(monkeypatch):
    counted = []
    real = Index.build.__func__

    def build(cls, documents, out, *arguments, **named):
        counted.append(out)
        return real(cls, documents, out, *arguments, **named)

    monkeypatch.setattr(Index, "build", classmethod(build))
    return counted


def test_everything_of_a_run_is_there(data, tmp_path):
    done = []
    found = harness.run_grid(
        grid(TWO, noise=True, retention=True, ladder={"sizes": [30, 60, 999], "kinds": ["sparse"]}),
        data,
        tmp_path / "run",
        command="ragib eval",
        progress=lambda *seen: done.append(seen),
    )
    results = load_results(tmp_path / "run")
    assert [p.name for p in results.pipelines] == ["none", "bm25-sentence keep=0.3"]
    assert [p.measures for p in results.pipelines] == [p.measures for p in found.pipelines]
    assert results.manifest["command"] == "ragib eval"
    assert results.manifest["data"]["queries"] == 20
    passages = load_passages(tmp_path / "run")
    texts = {document.id: document.text for document in data.documents()}
    for pipeline in results.pipelines:
        rows = load_queries(tmp_path / "run", results, pipeline.name)
        assert [row.id for row in rows] == [query.id for query in data.queries]
        assert {name for row in rows for name, _ in row.hits} <= passages.keys()
        assert all(len(row.hits) == 2 and row.answer and not row.error for row in rows)
        for row in rows:
            for name, start, end, _ in row.evidence:
                assert passages[name].text[start:end].strip()
                assert passages[name].text in texts[passages[name].doc_id]
        for name, interval in pipeline.measures.items():
            if not name.startswith("AU"):
                values = [row.measures[name] for row in rows if name in row.measures]
                assert interval.mean == pytest.approx(sum(values) / len(values))
                assert interval.n == len(values)
        assert pipeline.cost["index_bytes"] > 0
        assert pipeline.cost["build_seconds"] > 0
        assert [x for x, _ in pipeline.curves["noise"]] == [0, 2, 4]
        assert pipeline.latency == {}
    assert "retention" not in results.pipelines[0].curves  # it scores nothing
    assert len(results.pipelines[1].curves["retention"]) == 5
    assert results.pipelines[1].measures["kept"].mean < results.pipelines[0].measures["kept"].mean
    assert [rung.passages for rung in results.ladder] == [30, 60, 100]
    assert {one.b for one in results.comparisons} == {"bm25-sentence keep=0.3"}
    totals = [(seen, total) for stage, seen, total in done if stage == "grid"]
    assert totals[-1][0] == totals[-1][1] == max(seen for seen, _ in totals)


def test_the_trec_run_scores_what_the_rows_say(data, tmp_path):
    harness.run_grid(grid(), data, tmp_path)
    results = load_results(tmp_path)
    [pipeline] = results.pipelines
    stem = file_names(results.pipelines)[pipeline.name]
    run = {}
    for line in (tmp_path / "runs" / f"{stem}.trec").read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        run.setdefault(query, {})[document] = float(score)
    values = retrieval(data.qrels, run, ["nDCG@10", "R@100"])
    for row in load_queries(tmp_path, results, pipeline.name):
        for name, of in values.items():
            assert row.measures.get(name) == of.get(row.id)
    assert len(run["q0"]) > 2  # deeper than what the compressor is given


def test_nothing_is_done_twice(data, tmp_path, calls, builds):
    lists = {"compressor": [{"name": "none"}, {"name": "truncate", "keep": 1.0}]}
    harness.run_grid(grid(lists), data, tmp_path / "a")
    # Both pipelines keep all, but in other pieces; the answer without passages is asked once.
    first = calls.questions.copy()
    assert len(builds) == 1
    harness.run_grid(grid(lists), data, tmp_path / "a")
    assert calls.questions == first
    assert len(builds) == 1
    more = {**lists, "retriever.k": [1, 2]}
    harness.run_grid(grid(more), data, tmp_path / "b", cache=tmp_path / "a" / "cache")
    assert len(builds) == 1
    added = calls.questions - first
    assert set(added.values()) <= {1, 2}  # what k = 1 asks anew
    results = load_results(tmp_path / "b")
    kept = load_queries(tmp_path / "b", results, "none k=2")
    anew = load_queries(tmp_path / "b", results, "none k=1")
    assert all(row.cached == ("retrieve", "compress", "generate") for row in kept)
    assert all(row.cached == () for row in anew)
    assert all(row.timings == {} for row in [*kept, *anew])


def test_a_stopped_run_goes_on(data, tmp_path, calls, builds, monkeypatch):
    monkeypatch.setattr(harness, "BATCH", 4)
    monkeypatch.setattr("ragib.eval.working.BATCH", 4)
    calls.fails = {"number13?": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        harness.run_grid(grid(), data, tmp_path)
    before = calls.questions.copy()
    assert 0 < len(before) < 20
    assert not (tmp_path / "results.json").exists()
    calls.fails = {}
    harness.run_grid(grid(), data, tmp_path)
    assert len(builds) == 1
    assert set(calls.questions.values()) == {2}  # with passages and without, each once
    assert all(calls.questions[question] == 2 for question in before)
    assert load_results(tmp_path).pipelines[0].errors == []


def test_a_generator_that_raises_costs_one_question(data, tmp_path, calls):
    calls.fails = {"number3?": ValueError("it\nbroke")}
    harness.run_grid(grid(), data, tmp_path / "run")
    results = load_results(tmp_path / "run")
    [pipeline] = results.pipelines
    assert pipeline.errors == ["q3: generate: ValueError: it broke"]
    rows = {row.id: row for row in load_queries(tmp_path / "run", results, pipeline.name)}
    assert rows["q3"].error == "generate: ValueError: it broke"
    assert rows["q3"].answer == ""
    assert rows["q3"].hits
    better = {"em/squad2", "f1/squad2", "has-answer/dpr", "nDCG@10", "citation-support/dpr"}
    assert {name: rows["q3"].measures[name] for name in better} == dict.fromkeys(better, 0.0)
    assert all(row.answer for name, row in rows.items() if name != "q3")
    assert pipeline.measures["has-answer/dpr"].n == 16  # it still counts
    calls.fails = {}
    harness.run_grid(grid(), data, tmp_path / "run")
    results = load_results(tmp_path / "run")
    assert results.pipelines[0].errors == []  # a failure is not kept for the next run
    assert results.pipelines[0].measures["has-answer/dpr"].mean == 1.0


def test_a_generation_with_an_error_is_an_error(data, tmp_path, calls, monkeypatch):
    def generate(requests):
        return [
            Generation("", error="refused") if "number3?" in r.question else
            Generation("Paris", (Quote(0),), confidence=float("inf")) for r in requests
        ]  # fmt: skip

    monkeypatch.setattr(calls, "generate", generate)
    harness.run_grid(grid(), data, tmp_path)
    results = load_results(tmp_path)
    assert results.pipelines[0].errors == ["q3: generate: refused"]
    rows = load_queries(tmp_path, results, results.pipelines[0].name)
    assert {row.confidence for row in rows} == {None}


def test_a_compressor_that_raises_costs_one_question(data, tmp_path, monkeypatch):
    from ragib.compressor.none import KeepAll

    real = KeepAll.compress

    def compress(self, questions):
        if any("number7?" in question.text for question in questions):
            raise RuntimeError("no")
        return real(self, questions)

    monkeypatch.setattr(KeepAll, "compress", compress)
    harness.run_grid(grid(), data, tmp_path)
    results = load_results(tmp_path)
    assert results.pipelines[0].errors == ["q7: compress: RuntimeError: no"]
    rows = load_queries(tmp_path, results, results.pipelines[0].name)
    assert sum(bool(row.answer) for row in rows) == 19


def test_a_full_disk_keeps_what_was_done(data, tmp_path, calls, builds, monkeypatch):
    def fsync(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "results.json.part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(RagibError, match="the disk is full; all that was finished") as caught:
            harness.run_grid(grid(), data, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    before = calls.questions.copy()
    harness.run_grid(grid(), data, tmp_path)
    assert calls.questions == before
    assert len(builds) == 1
    assert load_results(tmp_path).pipelines


def test_another_run_in_the_directory(data, tmp_path):
    harness.run_grid(grid(), data, tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(InputError, match=r"another run, of other pipelines; name another folder"):
        harness.run_grid(grid(TWO), data, tmp_path)
    with pytest.raises(InputError, match=r"of other options; .*--cache .*cache"):
        harness.run_grid(grid(noise=True), data, tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_directory_of_something_else(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        harness.run_grid(grid(), data, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    with pytest.raises(InputError, match="cannot be written"):
        harness.run_grid(grid(), data, tmp_path / "thesis.tex" / "run")


def test_two_runs_in_one_directory(data, tmp_path, calls, monkeypatch):
    seen = []
    real = calls.generate

    def generate(requests):
        if not seen:
            seen.append(True)
            with pytest.raises(InputError, match="another process is running it"):
                harness.run_grid(grid(), data, tmp_path)
        return real(requests)

    monkeypatch.setattr(calls, "generate", generate)
    harness.run_grid(grid(), data, tmp_path)
    assert seen


def test_a_set_without_answers(tmp_path):
    records = [record(n, answers=False) for n in range(5)]
    data = read_eval_set(write(tmp_path / "qa.jsonl", records))
    assert any("no question has answers" in note for note in data.notes)
    results = harness.run_grid(grid(), data, tmp_path / "run")
    measures = results.pipelines[0].measures
    assert "nDCG@10" in measures
    assert not {"em/squad2", "f1/squad2", "AURC/dpr", "TFR/dpr"} & measures.keys()
    assert results.manifest["data"]["notes"] == list(data.notes)
    json.dumps(results.manifest)


def test_a_pipeline_that_searches_what_its_index_lacks(data, tmp_path):
    with pytest.raises(ConfigError, match=r"pipeline 'dense': retriever.using is dense, but"):
        harness.run_grid(grid({"retriever.using": ["dense", "sparse"]}), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({"compressor.name": ["none", "bm25"]}, "no compressor and no folder 'bm25'"),
        ({"compressor": [{"name": "none", "keep": 0.2}]}, "compressor.keep: none does not know"),
        ({"generator.name": ["sentence", "transformers"]}, "generator.model"),
    ],
)
def test_parts_that_cannot_be_had_are_told_before_anything_is_built(
    data, tmp_path, builds, lists, said
):
    with pytest.raises(ConfigError, match=said):
        harness.run_grid(grid(lists), data, tmp_path / "run")
    assert builds == []
    assert not (tmp_path / "run").exists()


def test_a_ladder_of_what_is_no_retrieval(data, tmp_path):
    ladder = {"sizes": [10], "kinds": ["sparse"], "measure": "f1/squad2"}
    with pytest.raises(ConfigError, match="f1/squad2 is not a measure of retrieval"):
        harness.run_grid(grid(ladder=ladder), data, tmp_path)


def test_times_are_those_of_the_pipeline_itself(data, tmp_path, builds):
    load = {"rates": [40], "seconds": 0.2, "target_ms": 10_000}
    timed = grid(latency=3, load=load)
    results = harness.run_grid(timed, data, tmp_path)
    [pipeline] = results.pipelines
    assert set(pipeline.latency) == {"retrieve", "compress", "generate", "total"}
    assert set(pipeline.latency["total"]) == {"p50", "p90", "p95", "p99", "mean"}
    assert pipeline.cost["cold_start_seconds"] > 0
    assert pipeline.cost["peak_rss_bytes"] > 1 << 20
    assert pipeline.load[0]["rate"] == 40
    assert results.manifest["pipelines_timed"] == {"measured": 1, "from an earlier run": 0}
    rows = load_queries(tmp_path, results, pipeline.name)
    assert sum(bool(row.timings) for row in rows) == 3
    again = harness.run_grid(timed, data, tmp_path)
    assert again.manifest["pipelines_timed"] == {"measured": 0, "from an earlier run": 1}
    assert again.pipelines[0].latency == pipeline.latency
