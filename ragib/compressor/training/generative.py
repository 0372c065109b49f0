"""A whole training of a generative compressor: candidates, rewards, SFT, DPO, weights.

Everything done is kept in the folder, so the same command goes on where it was interrupted:
`judged.jsonl` holds the rewards, `sft/` and `dpo/` the checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ragib.compressor.generative import FORMAT, LEAST_TOKENS, SETTINGS
from ragib.compressor.ib_score import score_with_lm, score_with_reader
from ragib.compressor.language_model import load_language_model, load_tokenizer
from ragib.compressor.model import load
from ragib.compressor.registry import WEIGHTS
from ragib.compressor.scorer_server import server_scorer
from ragib.compressor.scorers import Metered, transformers_scorer
from ragib.compressor.training.candidates import (
    Outcome,
    Rewards,
    Task,
    preferences,
    rewards,
    shown_records,
    tasks,
    to_write,
)
from ragib.compressor.training.hub import read_source
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record
from ragib.compressor.training.tuning import LOG, MERGED, PURPOSE, Tuning, tune
from ragib.config import EncoderConfig
from ragib.errors import InputError
from ragib.extras import require
from ragib.indexes.durable import replace_file
from ragib.models import locate
from ragib.text import batched

READER = "reader"
TRAINING = "training.json"
_JUDGED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class GenerativePlan:
    """What to train on, and how.

    `base` is any causal language model. The IB score is that of `judge`: the built-in reader, or a
    causal language model, computed here or by the vLLM server at `judge_url` that knows it by that
    name. `outcome` weighs the outcome of the reader's answers against it. `steps` updates of SFT
    are followed by `preference_steps` of DPO at a tenth of the `rate`.
    """

    base: str
    sources: tuple[str, ...] = ()
    judge: str = READER
    judge_url: str | None = None
    outcome: float = 1.0
    rank: int = 16
    max_tokens: int = 2048
    steps: int = 1000
    preference_steps: int = 300
    batch_size: int = 32
    micro_batch: int = 4
    rate: float = 2e-4
    seed: int = 0
    save_every: int = 200

    def tuning(self, steps: int, rate: float) -> Tuning:
        """Return how one stage is trained."""
        return Tuning(
            steps, self.batch_size, self.micro_batch, rate, self.rank, self.max_tokens, self.seed,
            self.save_every,
        )  # fmt: skip


def train_generative(
    data: Sequence[str | Path],
    out: Path,
    plan: GenerativePlan,
    outcome: Outcome,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a generative compressor and write it into a folder.

    Parameters
    ----------
    data
        Files of records as JSON lines, or hub data sets as `hub:OWNER/NAME`.
    out
        Gets the merged weights and tokenizer, `training.json`, and last `generative.json`.
    plan
        What to train on, and how.
    outcome
        What an answer is worth, such as the sum of EM and F1.
    progress
        Called with stage, what is done, and how much there is.

    Returns
    -------
    dict
        The summary in `training.json`: `plan`, `questions`, `tasks`, `pairs`, `judge` (tokens and
        seconds, of this run) and the `logs` of the stages.

    Raises
    ------
    InputError
        A file or model cannot be used, no question fits, or the folder holds another training.
    MissingExtraError
        A package of the extra `train` is not installed.
    """
    if plan.max_tokens < LEAST_TOKENS:
        raise InputError(f"{plan.max_tokens} tokens are too few; give at least {LEAST_TOKENS}")
    for package in ("trl", "peft", "datasets"):
        require(package, PURPOSE)
    settings = json.loads(json.dumps({**asdict(plan), "data": [str(name) for name in data]}))
    known = _known(out, settings)
    if known and (out / SETTINGS).is_file():
        return known
    base, _ = locate(EncoderConfig(model=plan.base))
    tokenizer = load_tokenizer(base)
    records = [r for name in data for r in read_source(name, plan.sources, progress)]
    shown = list(shown_records(_enough(records, plan), tokenizer, plan.max_tokens, plan.seed))
    out.mkdir(parents=True, exist_ok=True)
    _write(out / TRAINING, {"plan": settings})
    made, cost = _judged(shown, plan, outcome, tokenizer, out / "judged.jsonl", progress)
    if not made:
        names = ", ".join(map(str, data))
        raise InputError(
            f"{names}: none of {len(records)} questions has passages that fit, and evidence; "
            "give --max-tokens or another file"
        )
    logs = {
        "sft": tune(
            "sft", base, to_write(made), out / "sft", plan.tuning(plan.steps, plan.rate), progress
        )
    }
    last, pairs = out / "sft", preferences(made)
    if plan.preference_steps and pairs:
        tuning = plan.tuning(plan.preference_steps, plan.rate / 10)
        logs["dpo"] = tune("dpo", last / MERGED, pairs, out / "dpo", tuning, progress)
        last = out / "dpo"
    summary = {
        "plan": settings,
        "questions": len(records),
        "tasks": len(made),
        "pairs": len(pairs),
        "judge": cost,
        "logs": logs,
    }
    _publish(last / MERGED, out, summary, plan.max_tokens)
    return summary


def _known(out: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Return what the folder says of an earlier run of the same plan; nothing if it is new."""
    path = out / TRAINING
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = dict(found["plan"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a note of a training: {error}") from None
    other = next((key for key in plan if known.get(key) != plan[key]), None)
    if other is not None:
        raise InputError(
            f"{out}: holds a training with {other} {known.get(other)!r}, not {plan[other]!r}; "
            "name another folder, or remove this one"
        )
    return found


def _enough(records: Sequence[Record], plan: GenerativePlan) -> Sequence[Record]:
    """Draw as many questions as the updates can show, for judging candidates takes its time."""
    most = max(plan.steps, plan.preference_steps) * plan.batch_size
    if most >= len(records):
        return records
    return random.Random(plan.seed).sample(records, most)  # noqa: S311


def _rewards(plan: GenerativePlan, outcome: Outcome) -> tuple[Rewards, Metered | None]:
    reader = load(WEIGHTS)
    if plan.judge == READER:
        own = rewards(partial(score_with_reader, reader), reader, outcome, plan.outcome)
        return own, None
    if plan.judge_url is None:
        folder, _ = locate(EncoderConfig(model=plan.judge))
        scorer = transformers_scorer(load_language_model(folder), load_tokenizer(folder))
    else:
        scorer = server_scorer(plan.judge_url, plan.judge, load_tokenizer(plan.judge))
    meter = Metered(scorer)
    return rewards(partial(score_with_lm, meter), reader, outcome, plan.outcome), meter


def _judged(
    shown: Sequence[Record],
    plan: GenerativePlan,
    outcome: Outcome,
    tokenizer: Any,  # noqa: ANN401
    path: Path,
    progress: Progress | None,
) -> tuple[list[Task], dict[str, float]]:
    """Judge all candidates; a line of the file holds the tasks of one batch of records.

    Also returns what a language model as the judge cost in this run. The judge is loaded if there
    is something left to judge, and let go of before the training begins.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]  # the last may have been cut short
    made = [Task(p, tuple(t), tuple(r)) for line in whole for p, t, r in json.loads(line)]
    batches = list(batched(shown, _JUDGED_AT_ONCE))
    if len(whole) >= len(batches):
        return made, {}
    reward, meter = _rewards(plan, outcome)
    with path.open("r+b" if lines else "wb") as file:
        file.truncate(sum(map(len, whole)))
        file.seek(0, os.SEEK_END)
        for number, batch in enumerate(batches[len(whole) :], start=len(whole) + 1):
            found = tasks(batch, reward, tokenizer, plan.max_tokens)
            row = [[task.prompt, task.texts, task.rewards] for task in found]
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            made += found
            if progress is not None:
                progress("candidates", min(number * _JUDGED_AT_ONCE, len(shown)), len(shown))
    return made, {"tokens": meter.tokens, "seconds": round(meter.seconds, 3)} if meter else {}


def _publish(merged: Path, out: Path, summary: dict[str, Any], max_tokens: int) -> None:
    """Write the weights, then the file that says they are whole; then clear up."""
    shutil.copytree(merged, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOG))
    _write(out / TRAINING, summary)
    _write(out / SETTINGS, {"format": FORMAT, "max_tokens": max_tokens})
    for stage in ("sft", "dpo"):
        shutil.rmtree(out / stage, ignore_errors=True)


def _write(path: Path, values: dict[str, Any]) -> None:
    replace_file(path, json.dumps(values).encode() + b"\n")
