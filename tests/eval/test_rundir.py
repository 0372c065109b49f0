"""Run directories: what is written is read back, and what is damaged is named."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.errors import InputError, RagibError
from ragib.eval import rundir
from ragib.eval.results import (
    Comparison,
    Interval,
    PipelineResult,
    QueryResult,
    Rung,
    RunResults,
)
from ragib.types import Passage


def row(id: str = "q1", question: str = "who?", **values: object) -> QueryResult:
    fields = {
        "answers": ("Rome",),
        "answerable": True,
        "answer": "Rome",
        "abstained": False,
        "confidence": 0.5,
        "hits": (("p1", 2.0),),
        "evidence": (("p1", 0, 4, 0.25),),
        "measures": {"em/squad2": 1.0},
        "timings": {"retrieve": 0.01},
        "usage": {"words_in": 7},
        "cached": ("retrieve",),
        "cluster": "d1",
    }
    return QueryResult(id=id, question=question, **{**fields, **values})


def pipeline(name: str = "sparse reader") -> PipelineResult:
    return PipelineResult(
        name,
        {"retriever.using": "sparse"},
        {"em/squad2": Interval(0.5, 0.25, 0.75, 4)},
        {"total": {"p50": 1.0}},
        {"index_bytes": 10.0},
        [{"rate": 2.0}],
        {"noise": [(0.0, 1.0), (2.0, 0.5)]},
        ["q2: no answer"],
    )


PASSAGE = Passage("p1", "d1", "Rome. Paris.", "Cities", 3, 15)
RESULTS = RunResults(
    {"seed": 0, "config": {"grid": [1]}},
    [pipeline(), pipeline("dense/reader")],
    [Comparison("a", "b", "em/squad2", 0.1, -0.1, 0.3, 0.2, 0.4)],
    [Rung("dense", 1000, "nDCG@10", 0.5, 0.4, 0.6, 1 << 20)],
)


@pytest.fixture
def folder(tmp_path):
    stems = rundir.file_names(RESULTS.pipelines)
    for stem in stems.values():
        rundir.save_queries(tmp_path, stem, [row("q1"), row("q2", error="it broke")])
    rundir.save_passages(tmp_path, [PASSAGE])
    rundir.save_results(tmp_path, RESULTS)
    return tmp_path


def test_what_is_saved_is_loaded(folder):
    assert rundir.load_results(folder) == RESULTS
    assert rundir.load_queries(folder, RESULTS, "dense/reader") == [
        row("q1"),
        row("q2", error="it broke"),
    ]
    assert rundir.load_passages(folder) == {
        "p1": Passage("p1", "d1", "Rome. Paris.", "Cities", 3, 15)
    }
    names = sorted(path.name for path in (folder / "queries").iterdir())
    assert names == ["01-sparse-reader.jsonl", "02-dense-reader.jsonl"]
    assert not list(folder.rglob("*.part"))


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\u2028\x85\r\n\ud800"))


@given(TEXT, TEXT, st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_survives(tmp_path_factory, question, answer, confidence):
    folder = tmp_path_factory.mktemp("run")
    rows = [row("q1", question, answer=answer, confidence=confidence), row("q2")]
    results = RunResults({}, (pipeline("a"),))
    rundir.save_queries(folder, rundir.file_names(["a"])["a"], rows)
    assert rundir.load_queries(folder, results, "a") == rows


def test_names_that_no_file_may_have():
    stems = rundir.file_names(["../../etc/passwd", "", "x" * 500, "A b"])
    assert list(stems.values())[:2] == ["01-etc-passwd", "02-pipeline"]
    assert len(stems["x" * 500]) < 70
    assert stems["A b"] == "04-a-b"


def test_trec_runs_rank_and_quote(tmp_path):
    rundir.save_run(tmp_path, "01-a", {"q 1": {"d1": 0.5, "d\t2": 2.0}, "q2": {}}, "a b")
    text = rundir.run_file(tmp_path, "01-a").read_text()
    assert text == "q%201 Q0 d%092 1 2 a%20b\nq%201 Q0 d1 2 0.5 a%20b\n"


def test_no_run_here(tmp_path):
    with pytest.raises(InputError, match=r"results\.json: no such file; `ragib eval` writes it"):
        rundir.load_results(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not the results of a run"),
        (b'{"format": 99}', "upgrade ragib"),
        (b'{"format": 1, "manifest": {}}', "pipelines: Field required"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"format": 1, "manifest": {}, "pipelines": [{"name": 1}]}', "pipelines.0.name"),
    ],
)
def test_damaged_results(folder, content, said):
    (folder / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json: ") as caught:
        rundir.load_results(folder)
    assert said in str(caught.value)


def test_two_pipelines_of_one_name(folder):
    rundir.save_results(folder, RunResults({}, (pipeline("a"), pipeline("a"))))
    with pytest.raises(InputError, match="same name"):
        rundir.load_results(folder)


def test_damaged_rows_name_their_line(folder):
    path = folder / "queries" / "01-sparse-reader.jsonl"
    lines = path.read_text().splitlines()
    broken = {**json.loads(lines[1]), "measures": {"em/squad2": "high"}}
    for second, said in [
        (lines[1][:-5], "not valid JSON"),
        (json.dumps(broken), "measures.em/squad2"),
        (lines[0], "query 'q1' is there twice"),
    ]:
        path.write_text(f"{lines[0]}\n{second}\n")
        with pytest.raises(InputError, match=r"01-sparse-reader\.jsonl:2: ") as caught:
            rundir.load_queries(folder, RESULTS, "sparse reader")
        assert said in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        rundir.load_queries(folder, RESULTS, "sparse reader")
    with pytest.raises(InputError, match="did you mean 'sparse reader'"):
        rundir.load_queries(folder, RESULTS, "sparse readr")


def test_a_full_disk_leaves_the_old_file(folder, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = (folder / "results.json").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RagibError, match="the disk is full; all that was finished is kept"):
        rundir.save_results(folder, RunResults({}, ()))
    assert (folder / "results.json").read_bytes() == before
    assert not list(folder.rglob("*.part"))


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "queries").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        rundir.save_queries(tmp_path, "01-a", [row()])
