"""A generative compressor, trained with TRL on a few questions, writes on the real engine."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ragib.cli.main import cli
from ragib.compressor.generative import GenerativeCompressor
from ragib.compressor.language_model import load_tokenizer
from ragib.compressor.prompt import DISCARD
from ragib.compressor.registry import load_compressor
from ragib.compressor.training.candidates import shown_records
from ragib.compressor.training.tuning import Tuning, tune
from ragib.compressor.writers import vllm_writer
from ragib.config import CompressorConfig
from ragib.types import Passage, Question
from tests.compressor.training_records import record, write

pytest.importorskip("vllm", reason="the vLLM engine is not installed; run: make test-vllm")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.filterwarnings("ignore"),  # the engine's and TRL's own, of which there are many
]

RECORDS = [record(number) for number in range(4)]
MAX_TOKENS = 720


@pytest.fixture(scope="module")
def trained(llama, tmp_path_factory):
    """Train by the command line; returns the folder and what the command printed."""
    folder = tmp_path_factory.mktemp("generative")
    data = write(RECORDS, folder / "train.jsonl")
    arguments = [
        "train", "compressor", "--form", "generative", "--base", str(llama), "--data", str(data),
        "--out", str(folder / "out"), "--steps", "80", "--preference-steps", "15", "--lora", "8",
        "--batch-size", "4", "--rate", "1e-2", "--max-tokens", str(MAX_TOKENS), "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "out", json.loads(result.stdout)


@pytest.fixture(scope="module")
def asked(trained):
    """The training questions as they were shown, and what each was to be answered from."""
    shown = list(shown_records(RECORDS, load_tokenizer(trained[0]), MAX_TOKENS, seed=0))
    questions = [
        Question(r.id, r.question, tuple(Passage(p.id, p.id, p.text, p.title) for p in r.passages))
        for r in shown
    ]
    gold = [next((p.text for p in r.passages if p.gold), "").split(". ") for r in shown]
    return questions, [f"{parts[1]}." if len(parts) > 1 else None for parts in gold]


def test_the_losses_fall_and_the_margin_of_the_reward_rises(trained):
    _, summary = trained
    assert summary["tasks"] >= len(RECORDS)
    assert summary["pairs"] > summary["tasks"]
    sft, dpo = summary["logs"]["sft"], summary["logs"]["dpo"]
    assert sft[-1]["loss"] < 0.1 * sft[0]["loss"]
    assert dpo[-1]["loss"] < 0.7 * dpo[0]["loss"]
    assert dpo[-1]["rewards/margins"] > dpo[0]["rewards/margins"] + 0.5
    assert dpo[-1]["rewards/accuracies"] > dpo[0]["rewards/accuracies"]


def test_the_engine_writes_what_transformers_writes_and_it_is_the_evidence(trained, asked):
    import vllm

    from ragib.generators.vllm import _hide_llvmlite

    folder, _ = trained
    questions, expected = asked
    _hide_llvmlite()
    engine = vllm.LLM(model=str(folder), enforce_eager=True, max_model_len=1024, dtype="float32")
    try:
        write = vllm_writer(engine, MAX_TOKENS)
        compressor = GenerativeCompressor(load_tokenizer(folder), write, MAX_TOKENS)
        written, results = compressor.written(questions), compressor.compress(questions)
    finally:
        engine.llm_engine.engine_core.shutdown()
    other = load_compressor(CompressorConfig(name="generative", model=str(folder)))
    assert other.written(questions) == written
    assert other.compress(questions) == results
    for question, sentence, result in zip(questions, expected, results, strict=True):
        texts = {passage.id: passage.text for passage in question.passages}
        assert [piece.text for piece in result.evidence] == ([sentence] if sentence else [])
        assert all(texts[e.passage_id][e.start : e.end] == e.text for e in result.evidence)
        assert result.abstained == (sentence is None)


def test_a_training_that_was_interrupted_goes_on_from_its_last_checkpoint(llama, tmp_path):
    rows = [
        {"prompt": f"Question: {n}\nEvidence:", "completion": f" {n} or {DISCARD}"} for n in "abcd"
    ]
    tuning = Tuning(8, 2, 1, 1e-3, rank=2, max_tokens=128, seed=0, save_every=3)

    class Stop(Exception):
        pass

    def stop(stage, done, total):
        assert (stage, total) == ("sft", 8)
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        tune("sft", llama, rows, tmp_path / "parts", tuning, stop)
    updates = []
    log = tune("sft", llama, rows, tmp_path / "parts", tuning, lambda *bar: updates.append(bar[1]))
    assert updates == [4, 5, 6, 7, 8]
    assert [entry["step"] for entry in log] == list(range(1, 9))
    whole = tune("sft", llama, rows, tmp_path / "whole", tuning)
    assert [e["loss"] for e in log] == pytest.approx([e["loss"] for e in whole], abs=1e-4)
    assert tune("sft", llama, rows, tmp_path / "parts", tuning, stop) == log
