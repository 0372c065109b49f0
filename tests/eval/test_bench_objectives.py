"""The ways to train that are compared: what each of them learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ragib.compressor.model import from_base
from ragib.compressor.training.data import Corpus, Mix, make_examples
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.eval.bench.guarantees import coverages
from ragib.eval.bench.objectives import filco_loss, triples
from ragib.eval.bench.reader import row, whole
from ragib.eval.bench.stages import plans

TEXT = "It was cold. The tower was built by Rome. A dog ran. The sun set. A cat slept. It is old."
GOLD = LabelledPassage("g", "Tower", TEXT, True, ((36, 40),), ())
NOISE = LabelledPassage("n", "Moon", "The moon was old. A bird sang.", False, (), ())
RECORD = Record("q", "s", "who built it?", ("Rome",), True, "answer-sentence", (GOLD, NOISE))


def test_contrasts_are_the_answer_and_sentences_without_it() -> None:
    [made] = triples([RECORD, replace(RECORD, passages=(NOISE,))], seed=0)
    assert made.positive == "The tower was built by Rome."
    assert len(set(made.negatives)) == 4
    assert not any("Rome" in text for text in made.negatives)


def test_filco_learns_from_the_tokens_alone(tiny_encoder_dir: Path) -> None:
    model = from_base(str(tiny_encoder_dir))
    corpus = Corpus(model.tokenizer, [RECORD])
    examples = make_examples([RECORD], corpus, model.special, Mix(second=0, max_tokens=128), 0)
    loss, parts = filco_loss(model, examples)
    assert list(parts) == ["keep"]
    loss.backward()
    assert model.modules["tokens"].weight.grad[0].abs().sum() > 0
    assert model.modules["tokens"].weight.grad[1:].abs().sum() == 0
    assert model.modules["passage"].weight.grad is None


def test_every_arm_goes_on_from_the_same_weights_for_as_long(tmp_path: Path) -> None:
    arms = plans(tmp_path, 7).values()
    assert {plan.start for plan in arms} == {(tmp_path,)}
    steps = [(p.schedule.steps, p.silver_steps, p.bottleneck_steps) for p in arms]
    assert steps == [(7, 0, 0), (0, 7, 0), (0, 0, 7)]


def test_answers_are_scored_with_and_without_abstention() -> None:
    unanswerable = replace(RECORD, id="u", answers=(), answerable=False)
    assert [piece.text for piece in whole(RECORD)] == [GOLD.text, NOISE.text]
    found = row("none", 1.0, [RECORD, unanswerable], [None, None], [None, None])
    assert (found["em/squad2"], found["all: em/squad2"]) == (0.0, 0.5)
    assert (found["right only with all"], found["right only with this"]) == (0.0, 0.0)


def test_coverage_of_many_halves() -> None:
    lowest = [number / 400 for number in range(400)]
    mean, low, high, inside = coverages(lowest, 0.1)
    assert low < mean < high
    assert mean == pytest.approx(0.9, abs=0.02)
    assert inside > 0.9
