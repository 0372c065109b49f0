"""The load test of the server, small."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from ragib.config import IndexConfig
from ragib.errors import RagibError
from ragib.eval.bench import serving as bench
from ragib.indexes.index import Index
from ragib.types import Document
from tests.serve.pipelines import FAILING, GOOD, pipeline, serving

LIGHT = ("--set", "compressor.name=bm25-sentence", "--set", "generator.name=sentence")


def test_a_load_is_measured_and_loses_nothing_at_the_end(tmp_path):
    rows = [
        {"_id": f"d{i}", "text": f"The tower {i} stands by the river. It is tall."}
        for i in range(9)
    ]
    documents = [Document(row["_id"], row["text"]) for row in rows]
    Index.build(documents, tmp_path / "idx", IndexConfig(kinds=("sparse",))).close()
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "tower 7"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("q\td7\t1\n")
    page = tmp_path / "page.md"
    page.write_text("<!-- serving -->\n<!-- /serving -->\n")
    options = ["--data", tmp_path, "--index", tmp_path / "idx", "--clients", 3, "--seconds", 0.5]
    done = CliRunner().invoke(bench.main, [*map(str, options), *LIGHT, "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert "3 clients" in page.read_text()
    row = json.loads((tmp_path / "results" / "serving.json").read_text())
    assert row["answered"] > 0
    assert row["errors"] == row["dropped"] == {}
    assert row["exit_code"] == 0
    assert row["peak_bytes"] > 10e6
    for times in row["milliseconds"].values():
        assert 0 <= times["p50"] <= times["p95"] <= times["p99"]


@pytest.mark.parametrize(("script", "answers"), [((0.05, *GOOD), True), (FAILING, False)])
def test_answers_and_errors_are_told_apart_before_and_after_the_end(script, answers):
    with serving(pipeline(script), concurrency=2) as (url, server):

        def end():
            server.should_exit = True

        load, lasted = asyncio.run(bench.press(url, ["river?", "tower?"], 4, 0.4, end))
    assert lasted >= 0.4
    assert load.dropped.keys() <= ({"status 503"} if not answers else set())
    if answers:
        assert load.errors == {}
        assert 0 < load.late <= len(load.total)
        assert len(load.seconds["queue"]) == len(load.total)
    else:
        assert (load.errors + load.dropped)["status 503"] > 0
        assert load.total == []


def test_a_server_that_does_not_start_is_an_error(tmp_path, capfd):
    with pytest.raises(RagibError, match="did not start"):
        bench.measure(tmp_path / "none", ["q"], 1, 0.1, [])
    assert "no such directory" in capfd.readouterr().err
