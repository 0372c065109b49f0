from __future__ import annotations

import pytest
from outcomes import TEXT, answer, outcome, query

from ragib.eval.citations import citation_support, citation_validity
from ragib.eval.outcome import cited_texts
from ragib.types import Citation, Document


def cite(start: int, end: int, text: str | None = None, document: str = "d") -> Citation:
    return Citation(
        document, f"{document}#1", start, end, TEXT[start:end] if text is None else text
    )


def test_a_citation_is_valid_if_its_document_holds_it_at_its_place() -> None:
    assert citation_validity(outcome(answer(cited=[cite(18, 49)]))) == 1
    assert citation_validity(outcome(answer(cited=[cite(18, 49, TEXT[17:48])]))) == 0
    assert citation_validity(outcome(answer(cited=[cite(18, 49), cite(0, 3, "the")]))) == 0.5
    assert citation_validity(outcome(answer(cited=[cite(0, 3, document="e")]))) == 0
    assert citation_validity(outcome(answer(cited=[cite(7, 7)]))) == 0


def test_what_the_pipeline_took_out_counts_as_invalid() -> None:
    flags = ["unverified-citation"]
    assert citation_validity(outcome(answer(cited=[cite(18, 49)], flags=flags))) == 0.5
    assert citation_validity(outcome(answer(flags=flags))) == 0


def test_an_answer_without_citations_is_not_judged_but_a_failure_is() -> None:
    assert citation_validity(outcome(answer())) is None
    assert citation_validity(outcome(None)) == 0


@pytest.mark.parametrize(
    ("cited", "supports"),
    [([(18, 49)], 1), ([(0, 17), (18, 49)], 1), ([(0, 17)], 0), ([(18, 36)], 0), ([], 0)],
)
def test_a_citation_supports_if_it_holds_a_right_answer(cited: list, supports: int) -> None:
    assert citation_support(outcome(answer(cited=[cite(*span) for span in cited]))) == supports


def test_any_right_answer_will_do_and_a_failure_supports_nothing() -> None:
    given = answer(cited=[cite(18, 49)])
    assert citation_support(outcome(given, query(answers=("Paris", "by rome")))) == 1
    assert citation_support(outcome(None)) == 0


def test_only_cited_documents_are_held() -> None:
    documents = (Document(name, f"text of {name}") for name in "abcd")
    answers = [answer(cited=[cite(18, 49)]), None, answer(cited=[cite(0, 3, document="b")])]
    assert cited_texts(documents, answers) == {"b": "text of b", "d": "text of d"}
