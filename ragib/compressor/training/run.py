"""A whole training: records, warm start, silver labels, bottleneck, calibration, weights."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ragib.compressor.calibration import Calibration, save_calibration
from ragib.compressor.model import EvidenceModel, from_base, save
from ragib.compressor.training.bottleneck import Bottleneck, BottleneckLoss
from ragib.compressor.training.calibrate import calibrate
from ragib.compressor.training.cloze import cloze_questions
from ragib.compressor.training.compose import compose
from ragib.compressor.training.data import Corpus, Example, Mix, make_examples
from ragib.compressor.training.hub import read_source
from ragib.compressor.training.loop import Loss, Progress, Schedule, read_log, train
from ragib.compressor.training.lora import add_adapters
from ragib.compressor.training.mean import load_mean
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.silver import relabel
from ragib.compressor.training.warm_start import mean_loss, warm_start_loss
from ragib.errors import InputError

_DEV_QUESTIONS = 256
_LEAST_HELD_OUT = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train on, and how.

    `start` are folders with trained weights to go on from, in place of fresh heads on `base`: of
    several, from their mean.
    `sources` says which records to take (none: all), `times` how often those of a source are seen
    in an epoch (once unless it says so), each time beside other distractors. Of each source the
    last `held_out` share of the questions (or 50, if they are at most a tenth of them) is kept for
    the calibration, at most `calibration_questions` in all; files are sorted by article, so few
    articles are shared.
    `composed_sources` are those whose questions stand alone well enough to be joined into two-hop
    ones (none: all), `joined` how many unrelated pairs are joined besides, and `cloze` how many
    questions are made of their passages alone. After the warm start, evidence is chosen anew by
    its IB score for `silver_steps` more updates; `silver_steps` or `bottleneck_steps` of 0 leave
    these stages out. Both go on at `later_rate`. `lora` trains adapters of that rank in place of
    the encoder (0: the encoder itself, but for its word embeddings).
    """

    schedule: Schedule
    base: str = "embedded"
    start: tuple[Path, ...] = ()
    max_tokens: int = 256
    sources: tuple[str, ...] = ()
    times: Mapping[str, int] = field(default_factory=dict)
    composed_sources: tuple[str, ...] = ()
    joined: int = 500
    cloze: int = 2000
    held_out: float = 0.03
    calibration_questions: int = 800
    silver_steps: int = 0
    bottleneck_steps: int = 0
    later_rate: float = 3e-5
    target: float = 0.1
    lora: int = 0
    mix: Mix = field(default_factory=Mix)


def train_compressor(
    data: Sequence[str | Path],
    out: Path,
    plan: Plan,
    *,
    dev: Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Train an evidence model and write it, calibrated, into a folder.

    Parameters
    ----------
    data
        Files of records as JSON lines, or hub data sets as `hub:OWNER/NAME`.
    out
        Gets `model.safetensors`, `evidence.json`, `calibration.json` and `training.json`, and
        checkpoints in `warm-start/`, `silver/` and `bottleneck/`, from which an interrupted run
        goes on.
    plan
        What to train on, and how.
    dev
        Records for early stopping (if the schedule has patience); never trained on.
    progress
        Called with stage, what is done, and how much there is.

    Raises
    ------
    InputError
        A file cannot be used, or holds too few questions.
    """
    asked = [r for name in data for r in read_source(name, plan.sources, progress)]
    known, held = split(asked, plan.held_out)
    if not known or not held:
        names = ", ".join(map(str, data))
        raise InputError(f"{names}: {len(asked)} questions are too few to train on")
    if plan.start:
        model = load_mean(plan.start)
    else:
        model = from_base(plan.base, plan.max_tokens, seed=plan.schedule.seed)
    model.freeze_words()
    merge = add_adapters(model, plan.lora, plan.schedule.seed) if plan.lora else None
    evaluate = None if dev is None else _evaluation(model, dev, plan)
    steps = (plan.schedule.steps, plan.silver_steps, plan.bottleneck_steps)
    logs = _stages(model, known, out, plan, evaluate, progress) if any(steps) else {}
    if merge is not None:
        merge()
    calibration = calibrate(model, calibration_set(held, plan), progress=progress)
    save(model, out)
    save_calibration(calibration, out)
    settings = asdict(plan) | {"start": [str(folder) for folder in plan.start]}
    summary = {"plan": settings, "questions": len(known), "logs": logs}
    (out / "training.json").write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return calibration


def _stages(
    model: EvidenceModel,
    known: Sequence[Record],
    out: Path,
    plan: Plan,
    evaluate: Callable[[EvidenceModel], float] | None,
    progress: Progress | None,
) -> dict[str, list[dict[str, float]]]:
    """Train the model in place, stage by stage; returns the log of each."""
    one_hop, seed = _taken(known, plan), plan.schedule.seed
    composed = compose(one_hop, seed, plan.joined)
    records = [*known, *composed, *cloze_questions(one_hop, seed, plan.cloze)]
    corpus = Corpus(model.tokenizer, records)

    def epoch(number: int) -> list[Example]:
        seen = [record for record in records for _ in range(plan.times.get(record.source, 1))]
        return make_examples(seen, corpus, model.special, plan.mix, seed + number)

    def stage(name: str, loss: Loss, schedule: Schedule) -> list[dict[str, float]]:
        folder = out / name
        return train(
            model, epoch, loss, schedule, folder, evaluate=evaluate, progress=progress, stage=name
        )

    logs: dict[str, list[dict[str, float]]] = {}
    if plan.schedule.steps:
        logs["warm-start"] = stage("warm-start", warm_start_loss, plan.schedule)
    later = replace(plan.schedule, rate=plan.later_rate)
    if plan.silver_steps:
        steps = plan.silver_steps + plan.bottleneck_steps
        records[:] = relabel(model, _enough(records, steps, plan), progress=progress)
        schedule = replace(later, steps=plan.silver_steps)
        logs["silver"] = stage("silver", warm_start_loss, schedule)
    if plan.bottleneck_steps:
        log = reversed(read_log(out / "bottleneck"))
        beta = next((entry["beta"] for entry in log if "beta" in entry), 0.0)
        schedule = replace(later, steps=plan.bottleneck_steps)
        loss = BottleneckLoss(Bottleneck(target=plan.target), beta)
        logs["bottleneck"] = stage("bottleneck", loss, schedule)
    return logs


def _enough(records: Sequence[Record], steps: int, plan: Plan) -> Sequence[Record]:
    """Draw as many questions as the steps can show: judging candidates takes its time.

    A question gives two examples at least, its passage and a distractor.
    """
    most = steps * plan.schedule.batch_size // 2
    if most >= len(records):
        return records
    return random.Random(plan.schedule.seed).sample(records, most)  # noqa: S311


def split(records: Sequence[Record], held_out: float) -> tuple[list[Record], list[Record]]:
    """Hold the last share of the questions of each source out of the training."""
    by_source: dict[str, list[Record]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    known: list[Record] = []
    held: list[Record] = []
    for group in by_source.values():
        share = max(len(group) * held_out, min(_LEAST_HELD_OUT, len(group) / 10))
        cut = len(group) - max(1, round(share))
        known += group[:cut]
        held += group[cut:]
    return known, held


def calibration_set(held: Sequence[Record], plan: Plan) -> list[Record]:
    """Draw held-out questions for the calibration, a quarter of them of several hops if it can.

    Of those there are often too few; joined ones make up for them.
    """
    rng = random.Random(plan.schedule.seed)  # noqa: S311
    share = plan.calibration_questions // 4
    real = [r for r in held if sum(p.gold for p in r.passages) > 1]
    several = rng.sample(real, min(len(real), share))
    joined = compose(_taken(held, plan), plan.schedule.seed)
    several += rng.sample(joined, min(len(joined), share - len(several)))
    others = [r for r in held if sum(p.gold for p in r.passages) <= 1]
    one = rng.sample(others, min(len(others), plan.calibration_questions - len(several)))
    drawn = [*one, *several]
    rng.shuffle(drawn)
    return drawn


def _taken(records: Sequence[Record], plan: Plan) -> list[Record]:
    wanted = plan.composed_sources
    return [r for r in records if not wanted or r.source in wanted]


def _evaluation(model: EvidenceModel, dev: Path, plan: Plan) -> Callable[[EvidenceModel], float]:
    records = list(read_records(dev))
    rng = random.Random(plan.schedule.seed)  # noqa: S311
    drawn = rng.sample(records, min(len(records), _DEV_QUESTIONS))
    corpus = Corpus(model.tokenizer, drawn)
    examples = make_examples(drawn, corpus, model.special, plan.mix, plan.schedule.seed)
    if not examples:
        raise InputError(f"{dev}: no question to evaluate on")
    return lambda trained: -mean_loss(trained, examples, plan.schedule.micro_batch)
