"""The curves: noise around the gold passages, and evidence kept at every share."""

import pytest
import yaml
from qa_records import record, write

from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig
from ragib.eval import behaviour
from ragib.eval.grid import parse_grid
from ragib.eval.harness import run_grid
from ragib.eval.read import read_eval_set
from ragib.eval.retention import judged, retained
from ragib.eval.robustness import is_right, noise_passages
from ragib.generators.base import Request
from ragib.generators.sentence import SentenceGenerator
from ragib.types import Passage, Question

pytest.importorskip("ir_measures")

GRID = {
    "base": {
        "index": {"kinds": ["sparse"]},
        "retriever": {"using": "sparse"},
        "generator": {"name": "sentence"},
    },
    "grid": {
        "retriever.k": [1, 2],
        "compressor": [{"name": "bm25-sentence", "keep": 0.2}, {"name": "truncate", "keep": 0.2}],
    },
    "latency": 0,
    "noise": True,
    "retention": True,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "qa.jsonl"
    return read_eval_set(write(path, [record(n, answerable=n % 6 != 5) for n in range(18)]))


@pytest.fixture(scope="module")
def pipelines(data, tmp_path_factory):
    grid = parse_grid(yaml.safe_dump(GRID, sort_keys=False), "g")
    return run_grid(grid, data, tmp_path_factory.mktemp("run")).pipelines


def test_noise_against_one_question_after_the_other(data, pipelines):
    for pipeline in pipelines:
        name = pipeline.settings["compressor.name"]
        compressor = load_compressor(CompressorConfig(name=name, keep=0.2))
        for count, accuracy in pipeline.curves["noise"]:
            right = []
            for query in data.queries:
                passages = noise_passages(query, int(count))
                if passages is None or noise_passages(query, 4) is None:
                    continue
                [kept] = compressor.compress([Question("q", query.text, passages)])
                titles = {passage.id: passage.title for passage in passages}
                request = Request(query.text, kept.evidence, titles)
                [answer] = SentenceGenerator().generate([request])
                right.append(is_right(query, answer.text))
            assert len(right) == 15
            assert accuracy == pytest.approx(sum(right) / len(right))


def test_retention_against_compressing_at_each_share(data, pipelines):
    for pipeline in pipelines:
        if pipeline.settings["compressor.name"] == "truncate":
            assert "retention" not in pipeline.curves
            continue
        assert [share for share, _ in pipeline.curves["retention"]] == list(behaviour.SHARES)
        for share, found in pipeline.curves["retention"]:
            compressor = load_compressor(CompressorConfig(name="bm25-sentence", keep=share))
            kept = []
            for query in data.queries:
                if judged(query.record):
                    passages = tuple(
                        Passage(p.id, p.id, p.text, p.title) for p in query.record.passages
                    )
                    [result] = compressor.compress([Question("q", query.text, passages)])
                    kept.append(retained(query.record, result))
            assert len(kept) == 15
            assert found == pytest.approx(sum(kept) / len(kept))


def test_curves_are_drawn_once_a_compressor(data, tmp_path, monkeypatch):
    drawn = []
    for name in ("noise", "retention"):
        real = getattr(behaviour, name)

        def counted(*arguments, real=real, name=name):
            drawn.append(name)
            return real(*arguments)

        monkeypatch.setattr(f"ragib.eval.working.{name}", counted)
    run_grid(parse_grid(yaml.safe_dump(GRID), "g"), data, tmp_path)
    assert sorted(drawn) == ["noise", "noise", "retention"]


def test_a_fixed_draw_of_questions(data, monkeypatch):
    monkeypatch.setattr(behaviour, "QUESTIONS", 4)
    assert behaviour.noise_size(data.queries) == 12
    chosen = behaviour._drawn(list(data.queries))
    assert len(chosen) == 4
    assert chosen == behaviour._drawn(list(data.queries))
