from __future__ import annotations

from dataclasses import replace

import pytest
from outcomes import TEXT, answer, outcome, query

from ragib.errors import InputError
from ragib.eval.evalset import EvalQuery
from ragib.eval.judge import CORRECT, SUPPORTED
from ragib.eval.registry import MEASURES, SET_MEASURES, applicable, applies, find, measure
from ragib.types import Citation

pytest.importorskip("ir_measures")

CITED = Citation("d", "d#1", 34, 38, "Rome")
UNANSWERABLE = EvalQuery("u", "who?", (), False)
UNJUDGED = EvalQuery("x", "who?")


def test_one_query_in_every_measure() -> None:
    given = answer("It was Rome", cited=[CITED], kept=[(0, 31)], hits=["e", "d"], words=(20, 5))
    asked = [outcome(given, judged={SUPPORTED: 1.0})]
    values = {name: of.get("q") for name, of in measure(asked, list(MEASURES)).items()}
    assert values == {
        "em/squad2": 0,
        "f1/squad2": 0.5,
        "has-answer/dpr": 1,
        "crag/dpr": 1,
        "abstained": 0,
        "answer-in-hits/dpr": 1,
        "nDCG@10": pytest.approx(0.63093, abs=1e-5),
        "R@100": 1,
        "RR@10": 0.5,
        "evidence-recall": 1,
        "retention": 1,
        "kept": 0.25,
        "removed": 0.75,
        "cached": None,
        "citation-validity": 1,
        "citation-support/dpr": 1,
        "TFR/dpr": None,
        "FFR/dpr": None,
        CORRECT: None,
        SUPPORTED: 1,
    }


@pytest.mark.parametrize(
    ("usage", "share"),
    [
        ({"prompt_tokens": 80, "cached_tokens": 64}, 0.8),
        ({"prompt_tokens": 80, "cached_tokens": 0}, 0),
        ({"prompt_tokens": 80}, None),
        ({"prompt_tokens": 0, "cached_tokens": 0}, None),
    ],
)
def test_what_the_engine_had_cached_is_a_share_of_the_prompt(usage, share) -> None:
    values = measure([outcome(replace(answer(), usage=usage))], ["cached"])
    assert values["cached"].get("q") == share


def test_a_failure_has_the_worst_value_of_all_that_applies() -> None:
    judged = {CORRECT: 0.0, SUPPORTED: 0.0}
    asked = [
        outcome(None, bare="Rome", judged=judged),
        outcome(None, query("p"), bare="Paris", judged=judged),
    ]
    values = measure(asked, list(MEASURES))
    for name, one in MEASURES.items():
        worst = {"higher": 0, "lower": 1, "neither": None}[one.better]
        flip = {"TFR/dpr": "q", "FFR/dpr": "p"}.get(name)
        for key in ("p", "q"):
            expected = worst if flip in (None, key) else None
            assert values[name].get(key) == expected, name


def test_evidence_is_looked_up_in_the_document_not_in_the_passage() -> None:
    assert TEXT[18:].index("Rome") == 16
    for kept, recall in [([(16, 20)], 1), ([(34, 38)], 0), ([(0, 18), (18, 31)], 1), ([], 0)]:
        values = measure([outcome(answer(kept=kept))], ["evidence-recall", "retention"])
        assert values == {"evidence-recall": {"q": recall}, "retention": {"q": recall}}


def test_what_does_not_apply_has_no_value() -> None:
    silent = answer("", abstained=True, words=(0, 0))
    values = measure([outcome(silent, UNANSWERABLE), outcome(silent, UNJUDGED)], list(MEASURES))
    assert {name: of for name, of in values.items() if of} == {
        "em/squad2": {"u": 1},
        "f1/squad2": {"u": 1},
        "crag/dpr": {"u": 1},
        "abstained": {"u": 1, "x": 1},
    }


def test_which_measures_apply_to_a_set() -> None:
    always = ["abstained", "kept", "removed", "cached", "citation-validity", SUPPORTED]
    assert applicable([UNJUDGED]) == always
    assert applicable([UNJUDGED, query()]) == list(MEASURES)
    assert applies("judgements", EvalQuery("q", "who?", judged={"d": 0}))


def test_any_measure_that_ir_measures_knows() -> None:
    given = outcome(answer(hits=["e", "d"]))
    assert measure([given], ["P@1", "P@2"]) == {"P@1": {"q": 0}, "P@2": {"q": 0.5}}
    assert find("P@2").needs == "judgements"


@pytest.mark.parametrize(
    ("name", "said"),
    [("em/squad", "did you mean 'em/squad2'"), ("em/kilt", "there are: em"), ("XYZ@3", "'XYZ@3'")],
)
def test_unknown_measures(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        measure([outcome(answer())], [name])


def test_measures_of_a_set() -> None:
    right, confidence = [1.0, 1.0, 0.0], [0.9, 0.8, 0.1]
    assert SET_MEASURES["AURC/dpr"].of(right, confidence) == pytest.approx(1 / 9)
    assert SET_MEASURES["AUROC/dpr"].of(right, confidence) == 1
