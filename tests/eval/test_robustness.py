from __future__ import annotations

import pytest
from outcomes import answer, outcome, query

from ragib.eval.evalset import EvalQuery
from ragib.eval.robustness import (
    crag,
    false_flip,
    is_right,
    noise_curve,
    noise_passages,
    right,
    true_flip,
)

RIGHT, WRONG, SILENT = answer("It was Rome."), answer("Paris"), answer("", abstained=True)


def test_a_right_answer_holds_one_and_where_there_is_none_is_empty() -> None:
    assert is_right(query(), "built by rome, it seems")
    assert not is_right(query(), "Paris")
    assert not is_right(query(), "")
    unanswerable = query(answers=(), answerable=False)
    assert is_right(unanswerable, " ")
    assert not is_right(unanswerable, "Rome")


def test_crag_score() -> None:
    assert [crag(outcome(given)) for given in (RIGHT, SILENT, WRONG, None)] == [1, 0, -1, 0]
    unanswerable = query(answers=(), answerable=False)
    scores = [crag(outcome(given, unanswerable)) for given in (RIGHT, SILENT, None)]
    assert scores == [-1, 1, 0]


def test_a_refusal_is_no_answer_whatever_it_says() -> None:
    refusal = answer("I do not know whether it was Rome.", abstained=True)
    assert crag(outcome(refusal)) == right(outcome(refusal)) == 0


@pytest.mark.parametrize(
    ("bare", "given", "true", "false"),
    [
        ("Rome", RIGHT, 0, None),
        ("Rome", WRONG, 1, None),
        ("Rome", SILENT, 1, None),
        ("Rome", None, 1, None),
        ("Paris", RIGHT, None, 1),
        ("Paris", WRONG, None, 0),
        ("", RIGHT, None, 1),
        ("", None, None, 0),
        (None, RIGHT, None, None),
    ],
)
def test_flips(bare: str | None, given: object, true: int | None, false: int | None) -> None:
    seen = outcome(given, bare=bare)
    assert (true_flip(seen), false_flip(seen)) == (true, false)


def test_distractors_are_added_around_the_gold_passage_in_the_order_of_the_record() -> None:
    asked = query()
    ids = {n: [p.id for p in noise_passages(asked, n) or ()] for n in range(6)}
    assert ids == {
        0: ["d"],
        1: ["n0", "d"],
        2: ["n0", "n1", "d"],
        3: ["n0", "n1", "d", "n2"],
        4: ["n0", "n1", "d", "n2", "n3"],
        5: [],
    }
    [gold] = noise_passages(asked, 0) or ()
    assert (gold.doc_id, gold.start, gold.end) == ("d", 0, len(gold.text))


def test_questions_without_gold_passages_have_no_such_context() -> None:
    assert noise_passages(EvalQuery("q", "who?"), 0) is None


def test_the_noise_curve_is_over_the_questions_that_have_every_point() -> None:
    accuracy = {2: {"a": 1.0, "b": 0.0}, 0: {"a": 1.0, "b": 1.0, "c": 0.0}, 4: {"b": 0.0, "a": 0.0}}
    assert noise_curve(accuracy) == [(0.0, 1.0), (2.0, 0.5), (4.0, 0.0)]
    assert noise_curve({}) == noise_curve({0: {"a": 1.0}, 2: {}}) == []
