from __future__ import annotations

from pathlib import Path

import pytest

from ragib.compressor.answers import find_answers
from ragib.compressor.model import EvidenceModel, from_base
from ragib.types import Evidence

PIECES = ("The tower was built by a king.", "It is old.", "The moon is cold at night.")


@pytest.fixture(scope="module")
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    return from_base(str(tiny_encoder_dir))


def evidence(passages: str = "aab") -> list[Evidence]:
    return [
        Evidence(name, 7, 7 + len(text), text, 0.5)
        for name, text in zip(passages, PIECES, strict=False)
    ]


def test_answers_are_verbatim_pieces_of_one_evidence(model: EvidenceModel) -> None:
    found = find_answers(model, [("who?", evidence()), ("what is cold?", evidence("abc"))])
    for answer in found:
        assert answer is not None
        text = PIECES[answer.evidence]
        assert text[answer.start : answer.end] == answer.text != ""
        assert 0 < answer.confidence < 1


def test_without_evidence_there_is_no_answer(model: EvidenceModel) -> None:
    assert find_answers(model, [("who?", [])]) == [None]
    assert find_answers(model, []) == []


def test_the_best_span_of_all_pieces_wins(model: EvidenceModel) -> None:
    [all_of_them] = find_answers(model, [("who?", evidence("abc"))])
    alone = [find_answers(model, [("who?", [piece])])[0] for piece in evidence("abc")]
    assert all_of_them is not None
    assert all_of_them.score == pytest.approx(max(a.score for a in alone if a), abs=0.1)


def test_titles_are_read(model: EvidenceModel) -> None:
    [plain] = find_answers(model, [("who?", evidence())])
    [titled] = find_answers(model, [("who?", evidence())], {"a": "King", "b": "Moon"})
    assert plain is not None
    assert titled is not None
    assert plain.score != titled.score
