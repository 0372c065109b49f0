from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from training_records import record, write

from ragib.cli.main import cli
from ragib.compressor.model import EvidenceModel, from_base, load, save
from ragib.compressor.training.data import Corpus, Example, Mix, make_examples
from ragib.compressor.training.loop import Schedule, train
from ragib.compressor.training.lora import add_adapters
from ragib.compressor.training.warm_start import mean_loss, warm_start_loss
from ragib.compressor.windows import Batch, collate
from ragib.errors import MissingExtraError

RECORDS = [record(number) for number in range(24)]


def made(tiny_encoder_dir: Path) -> EvidenceModel:
    torch.manual_seed(1)
    model = from_base(str(tiny_encoder_dir))
    model.freeze_words()
    model.modules.eval()
    return model


def examples_of(model: EvidenceModel) -> list[Example]:
    corpus = Corpus(model.tokenizer, RECORDS)
    return make_examples(RECORDS, corpus, model.special, Mix(max_tokens=128), seed=0)


def batch_of(model: EvidenceModel) -> Batch:
    return collate([e.pair for e in examples_of(model)[:8]], model.special.pad)


def trainable(model: EvidenceModel) -> set[str]:
    return {name for name, p in model.modules.named_parameters() if p.requires_grad}


def test_without_peft_the_pip_line_is_shown(
    tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ragib\[train\]'"):
        add_adapters(made(tiny_encoder_dir), rank=2, seed=0)


def test_adapters_and_heads_are_trained_and_nothing_else(tiny_encoder_dir: Path) -> None:
    pytest.importorskip("peft")
    model = made(tiny_encoder_dir)
    layers = [m for m in model.modules["encoder"].modules() if isinstance(m, torch.nn.Linear)]
    plain = model.forward(batch_of(model))
    add_adapters(model, rank=3, seed=0)
    names = trainable(model)
    heads = {f"{head}.{part}" for head in ("tokens", "passage") for part in ("weight", "bias")}
    adapters = names - heads
    assert heads < names
    assert len(adapters) == 2 * len(layers)
    assert all("lora_A" in name or "lora_B" in name for name in adapters)
    sizes = {min(model.modules.get_parameter(name).shape) for name in adapters}
    assert sizes == {3}
    torch.testing.assert_close(model.forward(batch_of(model)).keep, plain.keep)


def test_merging_changes_no_output_and_leaves_no_adapter(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    model = made(tiny_encoder_dir)
    names = set(model.modules.state_dict())
    frozen = {name: p.detach().clone() for name, p in model.modules["encoder"].named_parameters()}
    merge = add_adapters(model, rank=4, seed=0)
    examples = examples_of(model)
    before = mean_loss(model, examples, 16)
    schedule = Schedule(steps=40, batch_size=16, micro_batch=16, rate=5e-3, save_every=40)
    train(model, lambda _: examples, warm_start_loss, schedule, tmp_path / "run")
    assert mean_loss(model, examples, 16) < 0.7 * before
    with torch.inference_mode():
        adapted = model.forward(batch_of(model))
    merge()
    with torch.inference_mode():
        merged = model.forward(batch_of(model))
    for a, b in zip(
        (adapted.relevance, adapted.keep), (merged.relevance, merged.keep), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert set(model.modules.state_dict()) == names
    changed = {
        name
        for name, p in model.modules["encoder"].named_parameters()
        if not torch.equal(p, frozen[name])
    }
    assert changed
    assert all(name.endswith("weight") and "embeddings" not in name for name in changed)
    save(model, tmp_path / "weights", half=False)
    found = load(tmp_path / "weights")
    with torch.inference_mode():
        torch.testing.assert_close(found.forward(batch_of(model)).keep, merged.keep)


def test_one_seed_gives_the_same_adapters(tiny_encoder_dir: Path) -> None:
    pytest.importorskip("peft")
    weights = []
    for seed in (3, 3, 4):
        model = made(tiny_encoder_dir)
        add_adapters(model, rank=2, seed=seed)
        weights.append([p.detach() for n, p in model.modules.named_parameters() if "lora_A" in n])
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    tiny_encoder_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")

    class Stop(Exception):
        pass

    def run(folder: Path, stop_after: int | None) -> EvidenceModel:
        model = made(tiny_encoder_dir)
        merge = add_adapters(model, rank=2, seed=0)
        examples = examples_of(model)

        def watch(stage: str, done: int, total: int | None) -> None:
            if stop_after is not None and done == stop_after * 8:
                raise Stop

        schedule = Schedule(steps=8, batch_size=8, micro_batch=8, rate=1e-2, save_every=4)
        train(model, lambda _: examples, warm_start_loss, schedule, folder, progress=watch)
        merge()
        return model

    whole = run(tmp_path / "whole", None)
    with pytest.raises(Stop):
        run(tmp_path / "parts", 6)
    resumed = run(tmp_path / "parts", None)
    for a, b in zip(whole.modules.parameters(), resumed.modules.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_command_trains_adapters_and_saves_a_plain_model(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft")
    data = write([record(number) for number in range(120)], tmp_path / "train.jsonl")
    out = tmp_path / "weights"
    arguments = [
        "train", "compressor", "--data", str(data), "--out", str(out), "--lora", "2",
        "--base", str(tiny_encoder_dir), "--steps", "4", "--bottleneck-steps", "2",
        "--batch-size", "8", "--rate", "1e-2", "--held-out", "0.3",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads((out / "training.json").read_text())["plan"]["lora"] == 2
    monkeypatch.setitem(sys.modules, "peft", None)
    found = load(out)
    assert not any("lora" in name for name in found.modules.state_dict())
    base = from_base(str(tiny_encoder_dir)).modules["encoder"].state_dict()
    trained = found.modules["encoder"].state_dict()
    changed = {name for name in base if not torch.allclose(base[name], trained[name], atol=1e-3)}
    assert changed
    assert all("dense" in name or "attention" in name for name in changed)
