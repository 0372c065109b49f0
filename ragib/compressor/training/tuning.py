"""The two trainings of a language model, with low-rank adapters: imitation, then preference.

    SFT: -log p(text | prompt), a mean over the tokens of the text
    DPO: -log sigmoid(b (log p/p0 (chosen) - log p/p0 (rejected))) - log p(chosen | prompt)

with p0 the model after SFT and b = 0.1 (Rafailov et al. 2023, arXiv:2305.18290). The second term of
DPO, again a mean over tokens (Pang et al. 2024, arXiv:2404.19733), keeps it copying word for word.
Both are those of TRL; the adapters are merged when a stage is done.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ragib.compressor.language_model import load_language_model, load_tokenizer
from ragib.compressor.token_classifier import one_reason
from ragib.compressor.training.loop import Progress
from ragib.errors import RagibError
from ragib.extras import require
from ragib.models import quiet

Stage = Literal["sft", "dpo"]

MERGED = "merged"
"""The folder, within that of a stage, of the trained model; it is there when the stage is done."""
LOG = "log.json"

PURPOSE = "training a generative compressor"
_BETA = 0.1
_SCALE = 2
_LOGGED = {"loss", "step", "rewards/margins", "rewards/accuracies", "rewards/chosen"}


@dataclass(frozen=True, slots=True)
class Tuning:
    """How to train: `steps` updates of `batch_size` rows, read `micro_batch` at a time.

    `rank` is that of the adapters, `max_tokens` the most of a prompt with what is written.
    """

    steps: int
    batch_size: int
    micro_batch: int
    rate: float
    rank: int
    max_tokens: int
    seed: int
    save_every: int


def tune(
    stage: Stage,
    base: Path,
    rows: Sequence[Mapping[str, str]],
    folder: Path,
    tuning: Tuning,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train a model and leave it in `folder/merged`.

    Parameters
    ----------
    stage
        `sft` takes rows of `prompt` and `completion`, `dpo` of `prompt`, `chosen` and `rejected`.
    base
        The folder of the model to begin with.
    rows
        What to train on, at least one.
    folder
        Where the checkpoints are kept; if there are some, training goes on from the last. A stage
        that is done is not trained again.
    tuning
        Steps, rates, seed.
    progress
        Called with the stage, updates done, updates in all.

    Returns
    -------
    list
        The log: `step`, `loss`, and for `dpo` also `rewards/margins` and `rewards/accuracies`.

    Raises
    ------
    RagibError
        The loss is not a number, or the libraries fail, as for want of memory.
    MissingExtraError
        A package of the extra `train` is not installed.
    """
    if (folder / MERGED).is_dir():
        return _read_log(folder)
    with quiet():
        try:
            trainer, tokenizer = _trainer(stage, base, rows, folder, tuning, progress)
            trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
        except (ValueError, RuntimeError) as error:  # too little memory, several GPUs visible, ...
            raise RagibError(f"{folder}: the training failed: {one_reason(error)}") from error
        log = [{k: v for k, v in e.items() if k in _LOGGED} for e in trainer.state.log_history]
        log = [entry for entry in log if "loss" in entry]
        if not all(math.isfinite(entry["loss"]) for entry in log):
            raise RagibError("the loss is not a number; lower the learning rate")
        _save(trainer.model.merge_and_unload(), tokenizer, folder, log)
    return _read_log(folder)


def _read_log(folder: Path) -> list[dict[str, float]]:
    return list(json.loads((folder / MERGED / LOG).read_text(encoding="utf-8")))


def _last_checkpoint(folder: Path) -> str | None:
    """Find the last checkpoint that was written to its end."""
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    last = max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)
    return None if last is None else str(last)


def _trainer(
    stage: Stage,
    base: Path,
    rows: Sequence[Mapping[str, str]],
    folder: Path,
    tuning: Tuning,
    progress: Progress | None,
) -> tuple[Any, Any]:
    trl = require("trl", PURPOSE)
    peft = require("peft", PURPOSE)
    datasets = require("datasets", PURPOSE)
    library = require("transformers", PURPOSE)
    gpu = require("torch", PURPOSE).cuda.is_available()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    settings = {
        "output_dir": str(folder),
        "max_steps": tuning.steps,
        "per_device_train_batch_size": tuning.micro_batch,
        "gradient_accumulation_steps": max(1, tuning.batch_size // tuning.micro_batch),
        "learning_rate": tuning.rate,
        "warmup_steps": tuning.steps // 20,
        "max_length": tuning.max_tokens,
        "seed": tuning.seed,
        "save_steps": tuning.save_every,
        "save_total_limit": 1,
        "logging_steps": max(1, min(10, tuning.steps // 10)),
        "logging_nan_inf_filter": False,
        "bf16": gpu,
        "use_cpu": not gpu,
        "gradient_checkpointing": gpu,
        "report_to": "none",
        "disable_tqdm": True,
    }
    tokenizer = load_tokenizer(base)
    given = {
        "model": load_language_model(base),
        "train_dataset": datasets.Dataset.from_list([dict(row) for row in rows]),
        "processing_class": tokenizer,
        "peft_config": peft.LoraConfig(
            r=tuning.rank,
            lora_alpha=_SCALE * tuning.rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    }
    if stage == "sft":
        trainer = trl.SFTTrainer(args=trl.SFTConfig(**settings), **given)
    else:
        both = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0], "beta": _BETA}
        trainer = trl.DPOTrainer(args=trl.DPOConfig(**settings, **both), **given)
    trainer.remove_callback(library.PrinterCallback)  # it prints to stdout, where results go
    if progress is not None:
        trainer.add_callback(_watch(library, stage, progress))
    return trainer, tokenizer


def _watch(library: Any, stage: Stage, progress: Progress) -> Any:  # noqa: ANN401
    class Watch(library.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401
            progress(stage, state.global_step, state.max_steps)

    return Watch()


def _save(model: Any, tokenizer: Any, folder: Path, log: Sequence[Mapping[str, float]]) -> None:  # noqa: ANN401
    """Write the model under another name first, and rename it when it is whole."""
    library = require("transformers", PURPOSE)
    # Settings of the base, such as a penalty for repetition, would spoil copying.
    model.generation_config = library.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    part = folder / f"{MERGED}.part"
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / LOG).write_text(json.dumps(list(log)) + "\n", encoding="utf-8")
    part.replace(folder / MERGED)
