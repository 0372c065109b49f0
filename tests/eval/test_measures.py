import math

import pytest

from ragib.errors import InputError
from ragib.eval.measures import document_scores, mean, retrieval
from ragib.types import Hit, Passage

pytest.importorskip("ir_measures")


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
