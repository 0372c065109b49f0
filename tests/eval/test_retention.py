from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragib.compressor.training.records import LabelledPassage, Record
from ragib.eval.retention import covered, evidence_recall, judged, retained
from ragib.types import Compressed, Evidence

TEXT = "The tower is old. It was built by Rome in spring. A dog ran."


def record(kind: str, answers: tuple = (), evidence: tuple = ()) -> Record:
    passages = (
        LabelledPassage("a", "", TEXT, True, answers, evidence),
        LabelledPassage("b", "", "The moon is cold.", True, (), evidence and ((0, 17),)),
    )
    return Record("q", "s", "who built the tower?", ("Rome",), True, kind, passages)


def kept(*spans: tuple[str, int, int]) -> Compressed:
    pieces = tuple(Evidence(p, s, e, TEXT[s:e], 1.0) for p, s, e in spans)
    return Compressed("q", pieces, (), 16, 8)


def test_an_answer_must_be_kept_whole() -> None:
    asked = record("answer-sentence", answers=((34, 38),))
    assert retained(asked, kept(("a", 18, 49)))
    assert retained(asked, kept(("a", 18, 36), ("a", 36, 49)))
    assert not retained(asked, kept(("a", 18, 37)))
    assert not retained(asked, kept(("b", 0, 17)))
    assert not retained(asked, kept())


def test_any_occurrence_of_an_answer_will_do() -> None:
    asked = record("answer-sentence", answers=((4, 9), (34, 38)))
    assert evidence_recall(asked, {"a": [(0, 17)]}) == 1
    assert evidence_recall(asked, {"a": [(50, 60)]}) == 0


def test_all_supporting_sentences_must_be_kept() -> None:
    asked = record("human", evidence=((18, 49),))
    assert retained(asked, kept(("a", 18, 49), ("b", 0, 17)))
    assert not retained(asked, kept(("a", 18, 49)))
    assert not retained(asked, kept(("a", 18, 25), ("b", 0, 17)))


def test_recall_is_the_share_of_the_supporting_sentences() -> None:
    asked = record("human", evidence=((0, 17), (18, 49), (50, 60)))
    assert evidence_recall(asked, {"a": [(0, 49)]}) == 2 / 4
    assert evidence_recall(asked, {"b": [(0, 17)], "c": [(0, 60)]}) == 1 / 4
    assert evidence_recall(asked, {}) == 0


def test_of_supporting_paragraphs_something_must_be_kept() -> None:
    asked = record("paragraph", evidence=((0, 60),))
    assert retained(asked, kept(("a", 0, 10), ("b", 0, 3)))
    assert not retained(asked, kept(("a", 0, 60)))


def test_only_questions_whose_context_holds_the_answer_count() -> None:
    assert judged(record("answer-sentence", answers=((34, 38),)))
    assert not judged(record("answer-sentence"))
    assert judged(record("human", evidence=((18, 49),)))
    assert not judged(record("human", answers=((34, 38),)))


def test_white_space_is_no_part_of_what_is_wanted() -> None:
    assert covered("a b", (0, 3), [(0, 1), (2, 3)]) == 1
    assert covered("a b", (0, 3), [(0, 2)]) == 0.5
    assert covered(" \n ", (0, 3), [(0, 3)]) == 0


spans = st.tuples(st.integers(0, 60), st.integers(0, 60)).filter(lambda span: span[0] < span[1])


@given(st.lists(spans, min_size=1, max_size=4), st.lists(spans, max_size=4), spans)
def test_keeping_more_never_loses_evidence(marked: list, some: list, more: tuple) -> None:
    for kind in ("human", "paragraph"):
        asked = record(kind, evidence=tuple(marked))
        less = evidence_recall(asked, {"a": some})
        assert less <= evidence_recall(asked, {"a": [*some, more]}) < 1
