"""The page as a file: complete, closed to the outside, and sensible for half a run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragib.errors import InputError
from ragib.eval import rundir
from ragib.eval.report.cast import cast
from ragib.eval.report.differences import differences
from ragib.eval.report.page import page, write_report
from ragib.eval.report.reading import RunData
from ragib.eval.results import (
    Comparison,
    Interval,
    PipelineResult,
    QueryResult,
    Rung,
    RunResults,
)
from ragib.types import Passage
from tests.eval.synthetic_run import HOSTILE, write_run

VOID = {"br", "input", "meta"}


class Outline(HTMLParser):
    """The elements of a page, checked to be closed in the order they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.content.setdefault(self.open[-1] if self.open else "", []).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(folder, name="report.html"):
    written = write_report(folder, folder / name)
    text = (folder / name).read_text(encoding="utf-8")
    assert written.bytes == len(text.encode())
    return written, text, Outline(text)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return write_run(folder, 12, 40), *report(folder)


def test_every_section_is_there_with_its_heading(whole):
    _, _, _, page = whole
    assert page.content["h2"] == ["Verdict", "Errors", "Trade-offs", "Latency", "Behaviour",
                                  "Query by query", "All figures", "Manifest"]  # fmt: skip
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {str(link["href"]).removeprefix("#") for link in page.named("a")}
    assert links <= set(ids)


def test_every_figure_is_there_and_says_what_it_shows(whole):
    _, _, _, page = whole
    titles = page.content["h3"]
    assert titles[-10:] == [
        "f1/squad2 against p95 latency", "f1/squad2 against index size",
        "f1/squad2 against words to the generator", "Distribution of latency",
        "Latency under load", "Mean time by stage", "Risk against coverage",
        "Answers kept against share kept", "Robustness to noise", "nDCG@10 as the index grows",
    ]  # fmt: skip
    pictures = page.named("svg")
    assert len(pictures) == 10
    ids = {attributes.get("id") for _, attributes in page.elements}
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(str(picture["aria-labelledby"]).split()) <= ids
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', whole[2].partition("<script")[0])


def test_nothing_is_loaded_and_the_policy_names_what_runs(whole):
    _, _, text, page = whole
    for name, attributes in page.elements:
        assert name not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "srcset", "style", "action"} & set(attributes)
        assert not any(key.startswith("on") for key in attributes)
    policy = next(m["content"] for m in page.named("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert "http" not in content
        assert "innerHTML" not in content
    assert "@import" not in style
    assert "url(" not in style


def test_the_script_in_the_texts_is_text(whole):
    _, _, text, page = whole
    assert len(page.named("script")) == 2
    data = json.loads("".join(page.content["script"][:1]))
    questions = " ".join(query["q"] for query in data["queries"])
    assert HOSTILE[0] in questions
    assert HOSTILE[0] not in text


def test_the_verdict_has_the_figures_of_the_run(whole):
    results, _, text, page = whole
    table = text.partition('id="verdict"')[2].partition("</table>")[0]
    rows = table.partition("<tbody>")[2].split("<tr>")[1:]
    assert len(rows) == len(results.pipelines)
    for row, pipeline in zip(rows, results.pipelines, strict=True):
        found = pipeline.measures["f1/squad2"]
        assert (
            f"<b>{found.mean:.3f}</b> <small>{found.low:.3f}\u2013{found.high:.3f}</small>" in row
        )
        assert f">{len(pipeline.errors)}</td>" in row
    told = {one.b: one for one in results.comparisons if one.measure == "f1/squad2"}
    for row, pipeline in zip(rows[1:], results.pipelines[1:], strict=True):
        stars = re.search(r"[▲▼]\*+", row.partition("</th><td")[2].partition("</td>")[0])
        one = told[pipeline.name]
        level = sum(one.p_holm < bound for bound in (0.05, 0.01, 0.001))
        assert (stars[0] if stars else "") == ("▲▼"[one.difference < 0] + "*" * level) * bool(level)
    heads = [m for m in page.named("th") if m.get("scope") in ("col", "row")]
    assert len(heads) == len(page.named("th"))
    assert table.count("<caption>") == 1


def save(folder, *pipelines, rows=None, manifest=None):
    results = RunResults(manifest or {}, pipelines)
    stems = rundir.file_names(results.pipelines)
    for name, some in (rows or {}).items():
        rundir.save_queries(folder, stems[name], some)
    rundir.save_results(folder, results)
    return report(folder)


BARE = PipelineResult("bare", {}, {}, {}, {})


def test_every_best_value_is_bold_and_none_where_all_are_the_same(tmp_path):
    def pipeline(name, f1, recall, size):
        measures = {"f1/squad2": Interval(f1, f1, f1, 9), "R@100": Interval(recall, 0.0, 1.0, 9)}
        return PipelineResult(name, {}, measures, {}, {"index_bytes": size})

    _, text, _ = save(
        tmp_path,
        pipeline("a", 0.25, 0.5, 3e6),
        pipeline("b", 0.75, 0.5, 2e6),
        pipeline("c", 0.75, 0.5, 2e6),
    )
    table = text.partition('id="verdict"')[2].partition("</table>")[0]
    best = re.findall(r'<td data-v="([\d.]+)" class="best">', table)
    assert best == ["0.75", "2.0", "0.75", "2.0"]


def test_no_pipelines(tmp_path):
    written, text, page = save(tmp_path)
    assert (written.pipelines, written.queries) == (0, 0)
    assert page.content["h2"] == ["Verdict", "Query by query", "Manifest"]
    assert "nothing to compare" in text


def test_one_pipeline_without_any_figure(tmp_path):
    written, text, page = save(tmp_path, BARE)
    assert "bare" in text
    assert page.named("svg") == []
    assert len(written.problems) == 1
    assert "01-bare.jsonl: no such file" in text


def test_one_pipeline(tmp_path):
    write_run(tmp_path, 1, 5)
    _, text, page = report(tmp_path)
    assert "Emphasise" not in text
    assert len(page.named("svg")) == 8


def test_retrieval_without_answers(tmp_path):
    write_run(tmp_path, 3, 8, answers=False)
    _, text, page = report(tmp_path)
    assert "nDCG@10 against p95 latency" in page.content["h3"]
    assert "squad2" not in text


def test_no_queries(tmp_path):
    write_run(tmp_path, 3, 0)
    written, text, _ = report(tmp_path)
    assert written.queries == 0
    assert "no rows of queries to show" in text


def test_all_errors(tmp_path):
    write_run(tmp_path, 2, 6)
    results = rundir.load_results(tmp_path)
    stems = rundir.file_names(results.pipelines)
    failed = []
    for one in results.pipelines:
        nothing: dict[str, object] = {"answer": "", "hits": (), "evidence": (), "measures": {}}
        rows = [
            replace(row, error="it <broke>", timings={}, usage={}, **nothing)
            for row in rundir.load_queries(tmp_path, results, one.name)
        ]
        rundir.save_queries(tmp_path, stems[one.name], rows)
        zero = {"f1/squad2": Interval(0.0, 0.0, 0.0, 6)}
        errors = [f"{row.id}: {row.error}" for row in rows]
        failed.append(replace(one, measures=zero, latency={}, curves={}, load=(), errors=errors))
    rundir.save_results(tmp_path, replace(results, pipelines=failed, comparisons=(), ladder=()))
    _, text, page = report(tmp_path)
    assert "it &lt;broke&gt;</bdi> (12 times)" in text
    assert "Latency" not in page.content["h2"]


@pytest.mark.parametrize("damage", ["missing", "torn", "passages"])
def test_rows_that_cannot_be_read_are_named_and_the_rest_stands(tmp_path, damage):
    results = write_run(tmp_path, 3, 6)
    path = rundir.query_file(
        tmp_path, rundir.file_names(results.pipelines)[results.pipelines[1].name]
    )
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-40] + b"\n")
    else:
        path = tmp_path / "passages.jsonl"
        path.unlink()
    written, text, page = report(tmp_path)
    assert len(written.problems) == 1
    assert str(path) in text
    assert written.queries == 6
    data = json.loads("".join(page.content["script"][:1]))
    assert all((query["by"][1] is None) == (damage != "passages") for query in data["queries"])


def test_numbers_that_are_none_are_left_out(tmp_path):
    nan = float("nan")
    odd = PipelineResult(
        "odd", {"a": None}, {"f1/squad2": Interval(nan, nan, nan, 0)},
        {"total": {"p95": nan, "mean": 1.0}, "retrieve": {"mean": nan}}, {"index_bytes": 0.0},
        [{"rate": 1.0}], {"noise": [(0.0, nan)], "retention": [(0.5, 0.5)]},
    )  # fmt: skip
    fine = replace(odd, name="fine", measures={"f1/squad2": Interval(0.5, 0.4, 0.6, 9)})
    results = RunResults({}, (odd, fine))
    rundir.save_results(tmp_path, RunResults({}, (BARE,)))
    values = json.loads((tmp_path / "results.json").read_text())
    plain = json.dumps({**values, "pipelines": [vars_of(one) for one in results.pipelines]})
    (tmp_path / "results.json").write_text(plain)
    _, text, page = report(tmp_path)
    assert "nan" not in text.partition("<tbody>")[2].partition("</table>")[0]
    assert page.content["h3"] == ["Answers kept against share kept"]


def vars_of(one: PipelineResult) -> dict[str, object]:
    values = {name: getattr(one, name) for name in PipelineResult.__slots__}
    measures = {
        key: {n: getattr(v, n) for n in Interval.__slots__} for key, v in one.measures.items()
    }
    return {**values, "measures": measures}


def test_damaged_results_are_one_line_and_leave_the_old_report(tmp_path):
    write_run(tmp_path, 2, 3)
    report(tmp_path)
    old = (tmp_path / "report.html").read_bytes()
    values = json.loads((tmp_path / "results.json").read_text())
    values["pipelines"][1]["measures"]["f1/squad2"]["mean"] = "high"
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(
        InputError, match=r"results\.json: .*pipelines\.1\.measures\.f1/squad2\.mean"
    ):
        write_report(tmp_path, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == old
    assert not list(tmp_path.glob("*.part"))


ANY = st.floats() | st.sampled_from([0.0, 1.0, 0.5, 1e-320, -1.0, 1e308, 12.5])
TEXT = st.sampled_from([*HOSTILE, "", "f1/squad2", "nDCG@10", "total", "retrieve", "p95", "mean"])
POINTS = st.lists(st.tuples(ANY, ANY), max_size=4)
LATENCY = st.dictionaries(
    st.sampled_from(["total", "retrieve", "generate", HOSTILE[0]]),
    st.dictionaries(st.sampled_from(["p50", "p95", "mean", "odd"]), ANY),
)
PIPELINE = st.builds(
    PipelineResult,
    name=TEXT,
    settings=st.dictionaries(
        TEXT, st.none() | ANY | TEXT | st.dictionaries(TEXT, TEXT), max_size=3
    ),
    measures=st.dictionaries(
        st.sampled_from(["f1/squad2", "AURC/dpr", HOSTILE[1]]),
        st.builds(Interval, ANY, ANY, ANY, st.integers(0, 9)),
    ),
    latency=LATENCY,
    cost=st.dictionaries(st.sampled_from(["index_bytes", "build_seconds", HOSTILE[2]]), ANY),
    load=st.lists(st.dictionaries(st.sampled_from(["rate", "p95", "goodput"]), ANY), max_size=3),
    curves=st.dictionaries(st.sampled_from(["risk-coverage", "retention", "noise"]), POINTS),
    errors=st.lists(TEXT, max_size=3),
)
RUN = st.builds(
    RunResults,
    manifest=st.dictionaries(TEXT | st.sampled_from(["data", "date", "command"]), TEXT | ANY),
    pipelines=st.lists(PIPELINE, max_size=8),
    comparisons=st.lists(
        st.builds(Comparison, TEXT, TEXT, TEXT, ANY, ANY, ANY, ANY, ANY), max_size=3
    ),
    ladder=st.lists(
        st.builds(Rung, TEXT, st.integers(0, 10**7), TEXT, ANY, ANY, ANY, st.integers(0, 10**12)),
        max_size=4,
    ),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)
@given(RUN, st.data())
def test_any_figures_give_a_page(results, data):
    row = st.builds(
        QueryResult, id=TEXT, question=TEXT, answers=st.tuples(TEXT), answerable=st.booleans(),
        answer=TEXT, abstained=st.booleans(), confidence=ANY, hits=st.tuples(st.tuples(TEXT, ANY)),
        evidence=st.tuples(st.tuples(TEXT, st.integers(0, 9), st.integers(0, 9), ANY)),
        measures=st.dictionaries(st.just("f1/squad2"), ANY),
        timings=st.dictionaries(st.sampled_from(["total", "retrieve"]), ANY),
        usage=st.dictionaries(st.sampled_from(["words_kept", "prompt_tokens"]), st.integers(0, 99)),
        cluster=TEXT, error=st.none() | TEXT,
    )  # fmt: skip
    rows = [
        {one.id: one for one in data.draw(st.lists(row, max_size=2))} for _ in results.pipelines
    ]
    run = RunData(results, rows, {"": Passage("", "doc", HOSTILE[4])})
    chosen = cast(run)
    text = page(run, chosen, differences(run, chosen.quality, chosen.rival))
    text.encode()
    outline = Outline(text)
    assert len(outline.named("script")) == 2
    for name, attributes in outline.elements:
        if name in {"line", "rect", "circle", "path", "text", "svg"}:
            numbers = [
                v for k, v in attributes.items() if k not in {"class", "id", "role", "data-p"}
            ]
            assert not re.search(r"nan|inf|e\+", " ".join(map(str, numbers)))
