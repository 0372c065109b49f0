from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from ragib.errors import InputError
from ragib.eval.datasets import read_qrels
from ragib.eval.measures import document_scores, mean, retrieval
from ragib.types import Hit, Passage

pytest.importorskip("ir_measures")

IR = Path(__file__).parents[3] / "shared" / "data" / "ir"


def trec_order(scores: Mapping[str, float]) -> list[str]:
    """Rank as trec_eval does: by score, ties by document id, both falling."""
    return sorted(scores, key=lambda d: (scores[d], d), reverse=True)


def slow_ndcg(grades: Mapping[str, int], scores: Mapping[str, float], k: int) -> float:
    def dcg(gains: list[int]) -> float:
        return sum(max(g, 0) / math.log2(i + 2) for i, g in enumerate(gains[:k]))

    ideal = dcg(sorted(grades.values(), reverse=True))
    return dcg([grades.get(d, 0) for d in trec_order(scores)]) / ideal if ideal else 0.0


def slow_recall(grades: Mapping[str, int], scores: Mapping[str, float], k: int) -> float:
    relevant = {d for d, grade in grades.items() if grade > 0}
    return len(relevant & set(trec_order(scores)[:k])) / len(relevant) if relevant else 0.0


def slow_rr(grades: Mapping[str, int], scores: Mapping[str, float], k: int) -> float:
    ranked = sorted(scores, key=lambda d: (-scores[d], d))[:k]  # as the script of MS MARCO does
    return next((1 / n for n, d in enumerate(ranked, start=1) if grades.get(d, 0) > 0), 0.0)


def made_run(qrels: Mapping[str, Mapping[str, int]], seed: int) -> dict[str, dict[str, float]]:
    """Find some of what is judged, and more, with many ties; leave every tenth query out."""
    draw = random.Random(seed)
    run = {}
    for number, (query, grades) in enumerate(qrels.items()):
        found = draw.sample(sorted(grades), draw.randint(0, len(grades)))
        found += [f"other-{draw.randint(0, 999)}" for _ in range(draw.randint(1, 150))]
        if number % 10:
            run[query] = {d: draw.choice([0.25, 0.5, 1.0, 2.0, draw.random()]) for d in found}
    return run


def check(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> None:
    values = retrieval(qrels, run, ["nDCG@10", "R@100", "RR@10"])
    trec = pytest.importorskip("pytrec_eval")
    evaluator = trec.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"})
    official = evaluator.evaluate({query: scores for query, scores in run.items() if scores})
    for query, grades in qrels.items():
        scores = run.get(query, {})
        theirs = official.get(query, {"ndcg_cut_10": 0.0, "recall_100": 0.0})
        assert values["nDCG@10"][query] == pytest.approx(slow_ndcg(grades, scores, 10), abs=1e-4)
        assert values["R@100"][query] == pytest.approx(slow_recall(grades, scores, 100), abs=1e-4)
        assert values["RR@10"][query] == pytest.approx(slow_rr(grades, scores, 10), abs=1e-4)
        assert values["nDCG@10"][query] == pytest.approx(theirs["ndcg_cut_10"], abs=1e-4)
        assert values["R@100"][query] == pytest.approx(theirs["recall_100"], abs=1e-4)
    assert set(values["nDCG@10"]) == set(qrels)


def test_as_trec_eval_has_them() -> None:
    draw = random.Random(0)
    qrels = {
        f"q{n}": {f"d{d}": draw.choice([0, 1, 1, 2, 3]) for d in draw.sample(range(200), 30)}
        for n in range(40)
    }
    qrels["none-relevant"] = {"d1": 0}
    run = made_run(qrels, 1)
    run["not-judged"] = {"d1": 1.0}
    run["none-relevant"] = {"d1": 1.0, "d2": 0.5}
    check(qrels, run)


@pytest.mark.parametrize(("name", "split"), [("cranfield", "test"), ("nfcorpus", "dev")])
def test_as_trec_eval_has_them_on_real_judgements(name: str, split: str) -> None:
    path = IR / name / "qrels" / f"{split}.tsv"
    if not path.exists():
        pytest.skip(f"no {path}")
    qrels = read_qrels(path)
    check(qrels, made_run(qrels, 2))


def test_ndcg_by_hand():
    qrels = {"q": {"a": 2, "b": 1, "c": 0}}
    run = {"q": {"c": 3.0, "a": 2.0, "b": 1.0}}
    got = retrieval(qrels, run, ["nDCG@10"])["nDCG@10"]["q"]
    gain = 2 / math.log2(3) + 1 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert got == pytest.approx(gain / ideal, abs=1e-6)


def test_a_query_missing_from_the_run_counts_as_zero():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    values = retrieval(qrels, {"q1": {"a": 1.0}}, ["R@100", "RR@10"])
    assert values["R@100"] == {"q1": 1.0, "q2": 0.0}
    assert mean(values["RR@10"]) == 0.5


def test_unknown_measure():
    with pytest.raises(InputError, match="unknown measure 'nDGC@10'"):
        retrieval({"q": {"a": 1}}, {}, ["nDGC@10"])


def test_documents_score_as_their_best_passage():
    hits = [Hit(Passage(f"d#{n}", "d", "text"), score) for n, score in enumerate([1.0, 3.0, 2.0])]
    assert document_scores(hits) == {"d": 3.0}


def test_mean_of_nothing_is_zero():
    assert mean({}) == 0.0
