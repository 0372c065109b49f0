"""Candidates, rewards and preferences; the training itself is in tests/vllm_engine, with TRL."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from tiny_llama import make_tiny_llama
from training_records import passage, record, write
from transformers import AutoTokenizer

from ragib.cli.main import cli
from ragib.compressor.ib_score import Kept, score_with_reader
from ragib.compressor.model import load
from ragib.compressor.prompt import DISCARD
from ragib.compressor.registry import WEIGHTS
from ragib.compressor.training import generative, tuning
from ragib.compressor.training.candidates import (
    CLEARLY,
    Task,
    choices,
    preferences,
    rewards,
    shown_records,
    tasks,
    to_write,
)
from ragib.compressor.training.generative import GenerativePlan, train_generative
from ragib.compressor.training.records import Record
from ragib.compressor.training.silver import Place
from ragib.errors import InputError, RagibError
from ragib.eval.answers import em_squad2, f1_squad2

RECORDS = [record(number) for number in range(40)]
GOLD = "The book of Moon was built by Paris."
DECOY = "The moon was old."  # "the" and "moon" are words of the question


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama"), 2048)


@pytest.fixture(scope="module")
def tokenizer(llama):
    return AutoTokenizer.from_pretrained(llama)


def outcome(given: str, right: Sequence[str]) -> float:
    return em_squad2(given, right) + f1_squad2(given, right)


def texts(asked: Record, places: Sequence[Place]) -> list[str]:
    return [asked.passages[n].text[start:end] for n, (start, end) in places]


def noise(asked: Record) -> Record:
    others = tuple(p for p in asked.passages if not p.gold)
    return replace(asked, passages=others, answers=(), answerable=False)


def test_candidates_are_evidence_the_passage_a_decoy_and_nothing():
    asked = record(0)
    found = [texts(asked, places) for places in choices(asked)]
    whole = ["It was cold in the night.", GOLD, "A dog was red."]
    assert found[0] == [GOLD]
    assert sorted(row for row in found if GOLD not in row) == [[], [DECOY]]
    assert whole in found
    assert len(found) == len({tuple(row) for row in found})


def test_where_nothing_answers_there_is_a_decoy_or_nothing():
    found = [texts(noise(record(0)), places) for places in choices(noise(record(0)))]
    assert sorted(found) == [[], [DECOY]]


def test_what_no_judge_can_tell_has_its_own_evidence_only():
    asked = record(0)
    hops = replace(asked, passages=(*asked.passages, passage("h", "Paris is old.", "Paris", True)))
    assert [texts(hops, places) for places in choices(hops)] == [[GOLD, "Paris is old."]]
    unknown = replace(hops, answers=())
    assert choices(unknown) == choices(hops)
    blank = tuple(replace(p, answers=()) for p in asked.passages)
    assert choices(replace(asked, answers=(), passages=blank)) == []


def test_passages_are_shown_in_any_order_and_some_without_the_answer(tokenizer):
    shown = list(shown_records(RECORDS, tokenizer, 1200, seed=1))
    assert shown == list(shown_records(RECORDS, tokenizer, 1200, seed=1))
    whole = [r for r in shown if r.answerable]
    rest = [r for r in shown if not r.answerable]
    assert [r.id for r in whole] == [r.id for r in RECORDS]
    assert {[p.gold for p in r.passages].index(True) for r in whole} == {0, 1}
    assert 2 <= len(rest) <= 20
    assert all(r.answers == () and not any(p.gold for p in r.passages) for r in rest)


def test_what_does_not_fit_is_not_shown(tokenizer):
    [only] = shown_records([record(0)], tokenizer, 420, seed=0)
    assert [p.gold for p in only.passages] == [True]
    assert list(shown_records([record(0)], tokenizer, 300, seed=0)) == []


def by_length(records: Sequence[Record], kept: Sequence[Sequence[Place]]) -> list[float]:
    """Reward short texts, but nothing least of all."""
    return [
        -0.001 * sum(e - s for _, (s, e) in places) if places else -1.0 - len(r.answers)
        for r, places in zip(records, kept, strict=True)
    ]


def test_the_best_text_is_written_and_preferred_to_clearly_worse_ones(tokenizer):
    made = tasks([record(0), record(1)], by_length, tokenizer, 1200)
    assert len(made) == 2
    for task in made:
        assert list(task.rewards) == sorted(task.rewards, reverse=True)
        assert task.texts[-1] == f" {DISCARD}"
        assert task.prompt.endswith("\nEvidence:")
    assert to_write(made)[0] == {"prompt": made[0].prompt, "completion": made[0].texts[0]}
    pairs = preferences(made)
    clearly = [
        (task, text)
        for task in made
        for text, reward in zip(task.texts, task.rewards, strict=True)
        if task.rewards[0] - reward >= CLEARLY
    ]
    assert [(p["prompt"], p["chosen"], p["rejected"]) for p in pairs] == [
        (task.prompt, task.texts[0], text) for task, text in clearly
    ]
    assert {pair["rejected"] for pair in pairs} == {f" {DISCARD}"}
    assert preferences([Task("p", ("a", "b"), (1.0, 1.0 - CLEARLY / 2))]) == []


def test_what_is_too_long_to_be_written_is_no_candidate(tokenizer):
    [task] = tasks([record(0)], by_length, tokenizer, 240)  # of which 60 are for writing
    assert all(len(tokenizer(text).input_ids) < 60 for text in task.texts)
    assert len(task.texts) < len(choices(record(0)))


def test_the_outcome_is_mixed_with_the_ib_score():
    reader = load(WEIGHTS)
    asked = record(0)
    gold, nothing = choices(asked)[0], ()

    def judge(kept: Sequence[Kept]) -> list[float]:
        assert [k.passages for k in kept] == [[p.text for p in asked.passages]] * len(kept)
        return [0.25] * len(kept)

    assert rewards(judge, reader, outcome, 0.0)([asked] * 2, [gold, nothing]) == [-0.25, -0.25]
    assert rewards(judge, reader, outcome, 1.0)([asked], [gold]) == [2 - 0.25]
    assert rewards(judge, reader, outcome, 0.5)([asked] * 2, [gold, nothing]) == [1 - 0.25, -0.25]
    empty = noise(asked)
    judge_all = lambda kept: score_with_reader(reader, kept)  # noqa: E731
    nothing, decoy = choices(empty)
    discard, decoy = rewards(judge_all, reader, outcome, 1.0)([empty] * 2, [nothing, decoy])
    assert discard == 2.0
    assert decoy < discard


def test_the_built_in_reader_prefers_the_evidence():
    reader = load(WEIGHTS)
    asked = RECORDS[:8]
    judge = rewards(lambda kept: score_with_reader(reader, kept), reader, outcome, 1.0)
    for one in asked:
        row = choices(one)
        scores = judge([one] * len(row), row)
        best = texts(one, row[scores.index(max(scores))])
        assert len(best) == 1
        assert one.answers[0] in best[0]


def fake_tuning(monkeypatch) -> list[tuple]:
    """Stand in for TRL: every stage leaves a model that says what it was trained on."""
    seen = []

    def tune(stage, base, rows, folder, how, progress=None):
        if not (folder / "merged").is_dir():
            seen.append((stage, Path(base).name, len(rows), how.steps, how.rate))
            (folder / "merged").mkdir(parents=True)
            (folder / "merged" / "model.safetensors").write_text(stage)
            (folder / "merged" / "log.json").write_text("[]")
        return [{"step": 1.0, "loss": 0.5}]

    monkeypatch.setattr(generative, "tune", tune)
    monkeypatch.setattr(generative, "require", lambda module, purpose: SimpleNamespace())
    return seen


def test_a_training_is_judged_trained_twice_and_published(llama, tmp_path, monkeypatch):
    seen = fake_tuning(monkeypatch)
    data = write(RECORDS[:6], tmp_path / "train.jsonl")
    out = tmp_path / "out"
    plan = GenerativePlan(str(llama), steps=7, preference_steps=3, rate=1e-3, max_tokens=1200)
    bars = []
    summary = train_generative([data], out, plan, outcome, lambda *bar: bars.append(bar))
    made = summary["tasks"]
    assert seen == [
        ("sft", llama.name, made, 7, 1e-3),
        ("dpo", "merged", summary["pairs"], 3, 1e-4),
    ]
    assert summary["questions"] == 6 <= made
    assert summary["pairs"] > made
    assert bars[-1] == ("candidates", made, made)
    assert (out / "model.safetensors").read_text() == "dpo"
    assert json.loads((out / "generative.json").read_text()) == {"format": 1, "max_tokens": 1200}
    assert not (out / "sft").exists()
    assert not (out / "dpo").exists()
    assert train_generative([data], out, plan, outcome) == json.loads(
        (out / "training.json").read_text()
    )
    assert len(seen) == 2
    with pytest.raises(InputError, match="holds a training with steps 7, not 8"):
        train_generative([data], out, replace(plan, steps=8), outcome)


def test_an_interrupted_training_goes_on(llama, tmp_path, monkeypatch):
    fake_tuning(monkeypatch)
    monkeypatch.setattr(generative, "_JUDGED_AT_ONCE", 2)
    data = write(RECORDS[:7], tmp_path / "train.jsonl")
    plan = GenerativePlan(str(llama), max_tokens=1200)

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 4:
            raise Stop

    with pytest.raises(Stop):
        train_generative([data], tmp_path / "parts", plan, outcome, stop)
    judged = tmp_path / "parts" / "judged.jsonl"
    assert len(judged.read_bytes().splitlines()) == 2
    judged.write_bytes(judged.read_bytes() + b'[["half a li')
    train_generative([data], tmp_path / "parts", plan, outcome)
    train_generative([data], tmp_path / "whole", plan, outcome)
    assert judged.read_bytes() == (tmp_path / "whole" / "judged.jsonl").read_bytes()


def test_the_cost_of_a_language_model_as_the_judge_is_told(llama, tmp_path, monkeypatch):
    fake_tuning(monkeypatch)
    data = write(RECORDS[:2], tmp_path / "train.jsonl")
    plan = GenerativePlan(str(llama), judge=str(llama), max_tokens=1200)
    cost = train_generative([data], tmp_path / "out", plan, outcome)["judge"]
    assert cost["tokens"] > 1000
    assert cost["seconds"] > 0


def test_a_note_that_is_none_and_questions_that_do_not_fit(llama, tmp_path, monkeypatch):
    fake_tuning(monkeypatch)
    data = write(RECORDS[:2], tmp_path / "train.jsonl")
    with pytest.raises(InputError, match="none of 2 questions has passages that fit"):
        train_generative(
            [data], tmp_path / "a", GenerativePlan(str(llama), max_tokens=128), outcome
        )
    with pytest.raises(InputError, match="give at least 128"):
        train_generative(
            [data], tmp_path / "a", GenerativePlan(str(llama), max_tokens=100), outcome
        )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "training.json").write_text("[]")
    with pytest.raises(InputError, match=r"training\.json: not a note of a training"):
        train_generative([data], tmp_path / "b", GenerativePlan(str(llama)), outcome)


def test_what_the_libraries_say_is_one_line(llama, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of\n  memory")

    monkeypatch.setattr(tuning, "_trainer", fail)
    with pytest.raises(RagibError, match=r"the training failed: out of memory$"):
        tuning.tune("sft", llama, [{}], tmp_path, GenerativePlan("x").tuning(1, 1.0))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(
        cli, ["train", "compressor", "--data", "x.jsonl", "--out", "o", *arguments]
    )
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--form", "generative"], "--form generative needs --base"),
        (["--form", "generative", "--dev", "d.jsonl"], "--dev belongs to --form extractive"),
        (["--form", "generative", "--silver-steps", "3"], "--silver-steps belongs to"),
        (["--judge", "reader"], "--judge belongs to --form generative"),
        (["--preference-steps", "3"], "--preference-steps belongs to --form generative"),
        (["--form", "other"], "'other' is not one of"),
    ],
)
def test_options_of_the_other_form_are_refused(arguments, message):
    code, shown = run(*arguments)
    assert code == 2
    assert message in " ".join(shown.replace("│", " ").split())


def test_without_trl_the_pip_line_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    code, shown = run("--form", "generative", "--base", "x")
    assert code == 1
    assert "pip install 'ragib[train]'" in shown
