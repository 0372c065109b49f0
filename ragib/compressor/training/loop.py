"""The training loop: batches by length, bfloat16, checkpoints to go on from.

A checkpoint holds weights and optimiser state as safetensors and the rest as JSON; the order of
the batches follows from the seed, so a resumed run reads what the interrupted one would have read.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragib.compressor.model import EvidenceModel
from ragib.compressor.training.data import Example
from ragib.errors import InputError, RagibError
from ragib.extras import require

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, int, int | None], None]
Loss = Callable[[EvidenceModel, Sequence[Example]], "tuple[torch.Tensor, dict[str, float]]"]
Epoch = Callable[[int], Sequence[Example]]

_PURPOSE = "training"
_POOL = 64
_LOG_EVERY = 20


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to train.

    `steps` updates of `batch_size` examples each, read `micro_batch` at a time. The learning rate
    rises linearly over `warmup` of the steps, stays, and falls linearly to zero over the last
    `decay` of them, so a run can be resumed with another number of steps.
    """

    steps: int
    batch_size: int = 32
    micro_batch: int = 32
    rate: float = 1.5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    decay: float = 0.5
    clip: float = 1.0
    seed: int = 0
    save_every: int = 200
    patience: int = 0

    def factor(self, step: int) -> float:
        """Return the share of the learning rate that update `step` (0-based) takes."""
        up = (step + 1) / max(1.0, self.warmup * self.steps)
        down = (self.steps - step) / max(1.0, self.decay * self.steps)
        return min(1.0, up, down)


def train(
    model: EvidenceModel,
    epoch: Epoch,
    loss: Loss,
    schedule: Schedule,
    folder: Path,
    *,
    evaluate: Callable[[EvidenceModel], float] | None = None,
    progress: Progress | None = None,
    stage: str = "train",
) -> list[dict[str, float]]:
    """Train a model in place and return the log, one entry every 20 updates.

    Parameters
    ----------
    model
        The model; parameters that need no gradient are left as they are.
    epoch
        Gives the examples of an epoch (0-based).
    loss
        Gives the loss of a batch and its parts by name.
    schedule
        Steps, rates, seed.
    folder
        Where the checkpoint is kept; if one is there, training goes on from it.
    evaluate
        Higher is better; called with every checkpoint. After `patience` of them without a new
        best, training stops; the model is then the best one seen.
    progress
        Called with `stage`, examples done, examples in all.
    stage
        The name of the stage.

    Raises
    ------
    RagibError
        The loss is not a number.
    """
    torch = require("torch", _PURPOSE)
    torch.manual_seed(schedule.seed)
    weights = [p for p in model.modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=schedule.rate, weight_decay=schedule.weight_decay, fused=True
    )
    log, step = _resume(model, optimiser, folder)
    best, stale = max((entry["dev"] for entry in log if "dev" in entry), default=-math.inf), 0
    # Dropout stays off: with one or two passes over the data it costs time and gains nothing.
    model.modules.eval()
    begun, first = time.monotonic(), step
    recent: list[dict[str, float]] = []
    for batch in _from_step(epoch, schedule, step):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * schedule.factor(step)
        recent.append(_update(model, optimiser, weights, batch, loss, schedule))
        step += 1
        if step % _LOG_EVERY == 0 or step == schedule.steps:
            seconds = time.monotonic() - begun
            speed = (step - first) * schedule.batch_size / seconds
            log.append({"step": step, "examples_per_second": round(speed, 1), **_mean(recent)})
            recent.clear()
        if progress is not None:
            progress(stage, step * schedule.batch_size, schedule.steps * schedule.batch_size)
        if step % schedule.save_every == 0 or step == schedule.steps:
            if evaluate is not None:
                log.append({"step": step, "dev": evaluate(model)})
                stale = 0 if log[-1]["dev"] > best else stale + 1
                if stale == 0:
                    best = log[-1]["dev"]
                    _write(_weights(model), folder / "best.safetensors")
            _save(model, optimiser, folder, step, log)
            if schedule.patience and stale >= schedule.patience:
                break
    if schedule.patience and (folder / "best.safetensors").exists():
        files = require("safetensors.torch", _PURPOSE)
        model.modules.load_state_dict(files.load_file(folder / "best.safetensors"), strict=False)
    model.modules.eval()
    return log


def batches(examples: Sequence[Example], size: int, seed: int) -> list[list[Example]]:
    """Shuffle examples into batches of similar length: sorted within pools of 64 batches."""
    rng = random.Random(seed)  # noqa: S311
    order = list(examples)
    rng.shuffle(order)
    made: list[list[Example]] = []
    for begin in range(0, len(order), size * _POOL):
        pool = sorted(order[begin : begin + size * _POOL], key=lambda e: len(e.pair.ids))
        made += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(made)
    return made


def _from_step(epoch: Epoch, schedule: Schedule, step: int) -> Any:  # noqa: ANN401
    """Yield the batches from `step` on, over as many epochs as it takes."""
    seen, number = 0, 0
    while seen < schedule.steps:
        examples = epoch(number)
        if not examples:
            raise InputError("the training data gives no example")
        for batch in batches(examples, schedule.batch_size, schedule.seed + number):
            if step <= seen < schedule.steps:
                yield batch
            seen += 1
        number += 1


def _update(
    model: EvidenceModel,
    optimiser: Any,  # noqa: ANN401
    weights: Sequence[torch.Tensor],
    batch: Sequence[Example],
    loss: Loss,
    schedule: Schedule,
) -> dict[str, float]:
    torch = require("torch", _PURPOSE)
    optimiser.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for begin in range(0, len(batch), schedule.micro_batch):
        part = batch[begin : begin + schedule.micro_batch]
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            value, parts = loss(model, part)
        if not torch.isfinite(value):
            raise RagibError("the loss is not a number; lower the learning rate")
        scaled: Any = value * (len(part) / len(batch))
        scaled.backward()
        for name, number in parts.items():
            sums[name] = sums.get(name, 0.0) + number * len(part) / len(batch)
    torch.nn.utils.clip_grad_norm_(weights, schedule.clip)
    optimiser.step()
    return sums


def _mean(entries: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        name: round(sum(entry[name] for entry in entries) / len(entries), 4) for name in entries[0]
    }


def _weights(model: EvidenceModel) -> dict[str, torch.Tensor]:
    return {n: p.detach() for n, p in model.modules.named_parameters() if p.requires_grad}


def _save(
    model: EvidenceModel,
    optimiser: Any,  # noqa: ANN401
    folder: Path,
    step: int,
    log: list[dict[str, float]],
) -> None:
    """Write a checkpoint; the JSON, written last, names the file of tensors it belongs to."""
    names = [n for n, p in model.modules.named_parameters() if p.requires_grad]
    tensors = {f"weight.{name}": tensor for name, tensor in _weights(model).items()}
    for index, state in optimiser.state_dict()["state"].items():
        for key, tensor in state.items():
            tensors[f"{key}.{names[index]}"] = tensor
    old = sorted(folder.glob("checkpoint-*.safetensors"))
    _write(tensors, folder / f"checkpoint-{step}.safetensors")
    part = folder / "checkpoint.json.part"
    part.write_text(json.dumps({"step": step, "log": log}) + "\n", encoding="utf-8")
    part.replace(folder / "checkpoint.json")
    for path in old:
        if path.name != f"checkpoint-{step}.safetensors":
            path.unlink()


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    files = require("safetensors.torch", _PURPOSE)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    files.save_file({name: t.contiguous() for name, t in tensors.items()}, part)
    part.replace(path)


def read_log(folder: Path) -> list[dict[str, float]]:
    """Return the log of the checkpoint in a folder; empty if there is none."""
    path = folder / "checkpoint.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["log"]) if path.exists() else []


def _resume(
    model: EvidenceModel,
    optimiser: Any,  # noqa: ANN401
    folder: Path,
) -> tuple[list[dict[str, float]], int]:
    path = folder / "checkpoint.json"
    if not path.exists():
        return [], 0
    files = require("safetensors.torch", _PURPOSE)
    saved = json.loads(path.read_text(encoding="utf-8"))
    step = int(saved["step"])
    tensors = files.load_file(folder / f"checkpoint-{step}.safetensors")
    names = [n for n, p in model.modules.named_parameters() if p.requires_grad]
    weights = {name: tensors[f"weight.{name}"] for name in names}
    model.modules.load_state_dict(weights, strict=False)
    state = optimiser.state_dict()
    keys = {key.partition(".")[0] for key in tensors} - {"weight"}
    state["state"] = {
        index: {key: tensors[f"{key}.{name}"] for key in keys}
        for index, name in enumerate(names)
        if all(f"{key}.{name}" in tensors for key in keys)
    }
    optimiser.load_state_dict(state)
    return list(saved["log"]), step
