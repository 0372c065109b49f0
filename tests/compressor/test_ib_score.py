from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ragib.compressor.ib_score import (
    Kept,
    LogProbability,
    ib_score,
    marginal,
    score_with_lm,
    score_with_reader,
)
from ragib.compressor.model import from_base
from ragib.compressor.reading import Reading
from ragib.compressor.windows import Tokens


def test_score_by_hand() -> None:
    passages, answer = LogProbability(math.log(0.25), 2), LogProbability(math.log(0.5), 1)
    assert ib_score(passages, answer) == pytest.approx(math.log(0.5) - math.log(0.5))
    assert ib_score(passages, answer, alpha=3) == pytest.approx(-2 * math.log(0.5))
    assert ib_score(passages, answer, variant="paper") == pytest.approx(0.5 - 10 * 0.5)
    assert ib_score(passages, answer, alpha=2, variant="paper") == pytest.approx(0.5 - 2 * 0.5)


def test_score_by_a_language_model_reads_each_candidate_once() -> None:
    seen: list[Sequence[str]] = []

    def scorer(texts: Sequence[Sequence[str]]) -> list[list[LogProbability]]:
        seen.extend(texts)
        return [[LogProbability(-n * len(t), len(t)) for n, t in enumerate(text)] for text in texts]

    candidates = [Kept("who?", ["A b.", "C."], 4, ["ada", "bob"], ["A b. C.", "D."])]
    candidates.append(Kept("who?", [], 1, [], ["D."]))
    # The answer is the second piece, at -1 a token, and the passages the fourth, at -3.
    assert score_with_lm(scorer, candidates, alpha=2) == pytest.approx([-3 + 2, -3])
    [text, nothing] = seen
    assert text == ("A b.\nC.\n\nQuestion: who?\nAnswer:", " ada", "\n\nSource:", " A b. C. D.")
    assert nothing == ("\n\nQuestion: who?\nAnswer:", "", "\n\nSource:", " D.")
    assert score_with_lm(scorer, []) == []


def test_empty_text_scores_nothing() -> None:
    assert LogProbability(0.0, 0).a_token() == 0.0


def test_marginal_adds_up_all_places_of_the_answer() -> None:
    text = "ab cd ab"
    spans = np.array([[0, 2], [3, 5], [6, 8]], np.int32)
    start = np.log(np.array([0.2, 0.3, 0.1], np.float32) / 0.4)
    end = np.log(np.array([0.5, 0.1, 0.2], np.float32) / 0.2)
    reading = Reading(Tokens(np.arange(3, dtype=np.int32), spans), 0.0, start, start, end)
    expected = 0.2 * 0.5 + 0.1 * 0.2
    assert marginal(reading, text, ["AB"]) == pytest.approx(math.log(expected), abs=1e-5)
    assert marginal(reading, text, ["cd ab", ""]) == pytest.approx(math.log(0.3 * 0.2), abs=1e-5)
    assert marginal(reading, text, ["x"]) == float("-inf")


def test_reader_pays_for_words_and_for_a_lost_answer(tiny_encoder_dir: Path) -> None:
    model = from_base(str(tiny_encoder_dir))
    whole = ["The tower was built by a king.", "The moon is cold."]
    asks, whole_words = "who built it?", 11
    kept = [Kept(asks, kept, whole_words, ["zzz"]) for kept in ([], whole[1:])]
    none, lost = score_with_reader(model, kept)
    assert none == pytest.approx(math.log(12))  # one of 11 words, or nowhere
    assert 4 / 11 < lost < math.inf
    unknown = [Kept(asks, kept, whole_words, []) for kept in ([], whole[:1])]
    assert score_with_reader(model, unknown) == [0.0, pytest.approx(7 / 11)]
    kept = [Kept(asks, whole, whole_words, ["zzz"]), Kept(asks, whole[:1], whole_words, ["zzz"])]
    longer, shorter = score_with_reader(model, kept, alpha=0.0)
    assert shorter == pytest.approx(7 / 11)
    assert longer == 1.0
    assert score_with_reader(model, []) == []
