from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ragib.compressor.ib_score import (
    Kept,
    LogProbability,
    ib_score,
    marginal,
    score_with_lm,
    score_with_reader,
    transformers_scorer,
    vllm_scorer,
)
from ragib.compressor.model import from_base
from ragib.compressor.reading import Reading
from ragib.compressor.windows import Tokens

WORDS = ["<s>", "a", "b", "c"]
NEXT = torch.tensor(
    [[0.0, 0.5, 0.25, 0.25], [0.0, 0.1, 0.6, 0.3], [0.0, 0.2, 0.2, 0.6], [0.0, 0.8, 0.1, 0.1]]
)
"""Row: the word before; column: the word after."""


class Words:
    """A tokenizer of single words; what it does not know is left out."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> SimpleNamespace:
        ids = [WORDS.index(word) for word in text.split() if word in WORDS]
        return SimpleNamespace(input_ids=[0, *ids] if add_special_tokens else ids)


class Bigram:
    """A language model that looks at one word."""

    device = torch.device("cpu")

    def __call__(self, input_ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.log(NEXT[input_ids]))


def test_log_probability_by_hand() -> None:
    found = transformers_scorer(Bigram(), Words())("a b", "c a")
    assert found.tokens == 2
    assert found.nats == pytest.approx(math.log(0.6) + math.log(0.8))


def test_score_by_hand() -> None:
    passages, answer = LogProbability(math.log(0.25), 2), LogProbability(math.log(0.5), 1)
    assert ib_score(passages, answer) == pytest.approx(math.log(0.5) - math.log(0.5))
    assert ib_score(passages, answer, alpha=3) == pytest.approx(-2 * math.log(0.5))
    assert ib_score(passages, answer, variant="paper") == pytest.approx(0.5 - 10 * 0.5)
    assert ib_score(passages, answer, alpha=2, variant="paper") == pytest.approx(0.5 - 2 * 0.5)


def test_score_of_a_compression_by_hand() -> None:
    found = score_with_lm(transformers_scorer(Bigram(), Words()), "a", "b c", "b", "c", alpha=2)
    # p(x | kept, q, y) = p(b | c) p(c | b); p(y | kept, q) = p(c | a)
    expected = (math.log(0.1) + math.log(0.6)) / 2 - 2 * math.log(0.3)
    assert found == pytest.approx(expected)


def test_empty_text_scores_nothing() -> None:
    assert LogProbability(0.0, 0).a_token() == 0.0


def test_vllm_gives_what_transformers_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        def get_tokenizer(self) -> Words:
            return Words()

        def generate(self, prompts, params, use_tqdm):
            ids = prompts[0]["prompt_token_ids"]
            rows = [None] + [
                {after: SimpleNamespace(logprob=math.log(NEXT[before, after]))}
                for before, after in pairwise(ids)
            ]
            return [SimpleNamespace(prompt_logprobs=rows)]

    fake = SimpleNamespace(SamplingParams=lambda **options: options)
    monkeypatch.setattr("ragib.compressor.ib_score.require", lambda module, purpose: fake)
    found = vllm_scorer(Engine())("a b", "c a")
    assert found.nats == pytest.approx(math.log(0.6) + math.log(0.8), abs=1e-6)
    assert found.tokens == 2


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
    [lost] = score_with_reader(model, [Kept(asks, [whole[1]], whole_words, ["zzz"])])
    assert math.isfinite(lost)
    kept = [Kept(asks, whole, whole_words, ["zzz"]), Kept(asks, whole[:1], whole_words, ["zzz"])]
    longer, shorter = score_with_reader(model, kept, alpha=0.0)
    assert shorter == pytest.approx(7 / 11)
    assert longer == 1.0
    assert score_with_reader(model, []) == []
