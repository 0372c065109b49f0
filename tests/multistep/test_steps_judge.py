from __future__ import annotations

from pathlib import Path

import pytest

from ragib.compressor.answers import find_answers
from ragib.compressor.ib_score import Kept, score_with_reader
from ragib.compressor.model import EvidenceModel, from_base
from ragib.multistep.judge import Judge, Verdict
from ragib.types import Compressed, Evidence

TEXTS = ("The king built the tower.", "The moon is cold.", "A dog was in the river.")
PIECES = tuple(Evidence(str(i), 0, len(text), text, 0.5) for i, text in enumerate(TEXTS))
TITLES = {"0": "Tower"}


@pytest.fixture(scope="module")
def model(tiny_encoder_dir: Path) -> EvidenceModel:
    return from_base(str(tiny_encoder_dir))


def kept(*pieces: Evidence, words_in: int = 40) -> Compressed:
    words = sum(len(piece.text.split()) for piece in pieces)
    return Compressed("1", pieces, (), words_in, words, not pieces)


def test_gain_is_the_difference_of_two_scores_of_one_answer(model: EvidenceModel) -> None:
    verdict = Judge(model).weigh("who built it?", kept(*PIECES), PIECES[:1], TITLES)
    [found] = find_answers(model, [("who built it?", PIECES)], TITLES)
    assert found is not None
    now, before = score_with_reader(
        model,
        [
            Kept("who built it?", TEXTS, 40, [found.text]),
            Kept("who built it?", TEXTS[:1], 40, [found.text]),
        ],
    )
    assert verdict.answer == found.text
    assert verdict.score == pytest.approx(now, abs=1e-3)
    assert verdict.gain == pytest.approx(before - now, abs=1e-3)


def test_the_same_evidence_again_gains_nothing(model: EvidenceModel) -> None:
    verdict = Judge(model).weigh("who?", kept(*PIECES), PIECES, TITLES)
    assert verdict.gain == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("before", [None, ()])
def test_the_first_evidence_is_compared_with_nothing(model: EvidenceModel, before: object) -> None:
    verdict = Judge(model).weigh("who?", kept(PIECES[0]), before, TITLES)
    assert verdict.gain is None
    assert verdict.score is not None


def test_without_evidence_there_is_nothing_to_score(model: EvidenceModel) -> None:
    assert Judge(model).weigh("who?", kept(), None, {}) == Verdict()
    assert Judge(model).weigh("who?", kept(), PIECES, {}) == Verdict(gain=0.0)


def test_tokens_are_those_of_the_model(model: EvidenceModel) -> None:
    assert Judge(model).tokens(["the king", "", "the king of the river"]) == [2, 0, 5]
