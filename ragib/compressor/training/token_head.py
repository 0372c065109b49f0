"""Training a token head: a linear projection of a frozen encoder's token vectors.

The head starts from the training-free projection of the same vectors, and learns by MaxSim to rank
a question's passage above its hard negatives and above the other passages of the batch, with the
passages pooled as an index will pool them, or learns the margins of a teacher.

`MultiVectorEncoderTrainer` of sentence-transformers can train such a model, but runs the encoder
over every text of every batch. Here the encoder's vectors are computed once (`token_states`), and
an update of 32 questions with 96 passages, pooling included, takes a fraction of a second in place
of the seconds that encoding them would.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ragib.compressor.model import load
from ragib.compressor.training.contrasts import Contrasts, contrasts, relevances
from ragib.compressor.training.head_fit import Cached, HeadPlan, Matrix, fit, reciprocal_rank
from ragib.compressor.training.hub import read_source
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record
from ragib.compressor.training.run import split
from ragib.compressor.training.token_states import TokenStates, token_states
from ragib.encoders import Encoder, load_encoder
from ragib.errors import InputError
from ragib.indexes.durable import replace_file, sha256_of
from ragib.indexes.projection import fit_projection
from ragib.indexes.resume import digest_of
from ragib.indexes.token_head import NAME, projectable, write_head

HELD_OUT = 0.03
"""Share of the questions of each source that are held out to compare the head with its start."""

_MOST_HELD_OUT = 250
_SAMPLE = 1000


def train_head(
    data: Sequence[str | Path],
    out: Path,
    plan: HeadPlan,
    progress: Progress,
    *,
    states: Path | None = None,
) -> list[dict[str, float]]:
    """Train a head and write it into a folder.

    Parameters
    ----------
    data
        Files of records as JSON lines, or hub data sets as `hub:OWNER/NAME`.
    out
        Gets `token-head.safetensors` and `training.json`.
    plan
        What to train on, and how.
    progress
        Called with a stage, what is done, and how much there is.
    states
        Where what the encoder and the teacher made of the texts is kept, to be used again;
        `out/states` unless it is said.

    Returns
    -------
    list[dict[str, float]]
        For each pool factor the mean reciprocal rank of the passages of held-out questions among
        all of theirs: `untrained` with the training-free projection, `trained` with the head.

    Raises
    ------
    InputError
        A file cannot be used or holds too few questions, or the encoder has nothing to project.
    RagibError
        The loss is not a number.
    """
    records = [r for name in data for r in read_source(name, plan.sources, progress)]
    known, held = split(records, HELD_OUT)
    known, held = _drawn(known, plan, plan.questions), _drawn(held, plan, _MOST_HELD_OUT)
    encoder = load_encoder(plan.encoder)
    if not projectable(encoder, plan.dim):
        raise InputError(
            f"{encoder.name}: its token vectors have {encoder.token_dim} dimensions and are "
            f"indexed as they are; there is no head to train"
        )
    states = states or out / "states"
    train = cached(contrasts(known, plan.schedule.seed), encoder, states / "train", progress)
    dev = cached(contrasts(held, plan.schedule.seed), encoder, states / "dev", progress)
    if not train.made.items or not dev.made.items:
        names = ", ".join(map(str, data))
        raise InputError(f"{names}: {len(records)} questions are too few to train on")
    teacher = None
    if plan.teacher is not None:
        teacher = _taught(plan.teacher, known, train.made, states / "teacher.json", progress)
    start = first_projection(train.passages, plan.dim)
    projection, log = fit(train, start, plan, teacher, progress)
    found = [
        {
            "factor": factor,
            "untrained": reciprocal_rank(dev, start, factor),
            "trained": reciprocal_rank(dev, projection, factor),
        }
        for factor in sorted({1.0, *plan.factors})
    ]
    write_head(projection, encoder, out / NAME)
    settings = asdict(plan) | {"teacher": plan.teacher and str(plan.teacher)}
    settings["encoder"] = plan.encoder.model_dump(mode="json")
    summary = {"plan": settings, "questions": len(train.made.items), "held_out": found, "log": log}
    (out / "training.json").write_text(json.dumps(summary) + "\n", encoding="utf-8")
    return found


def cached(made: Contrasts, encoder: Encoder, folder: Path, progress: Progress) -> Cached:
    """Encode the texts of contrasts into a folder, unless they are there.

    Contrasts with a passage in which the encoder finds no token are left out.
    """
    identity = f"{encoder.name} {encoder.revision}"
    questions = token_states(
        made.questions,
        lambda texts: encoder.queries(texts, dense=False, tokens=True),
        identity,
        folder / "questions.f16",
        progress,
    )
    passages = token_states(
        made.passages,
        lambda texts: encoder.passages(texts, dense=False, tokens=True),
        identity,
        folder / "passages.f16",
        progress,
    )
    empty = {number for number in range(len(passages)) if not len(passages[number])}
    items = [item for item in made.items if empty.isdisjoint({*item.passages, *item.golds})]
    return Cached(replace(made, items=items), questions, passages)


def first_projection(passages: TokenStates, dim: int) -> Matrix:
    """Fit the training-free projection to every so many of the passages, a thousand at most."""
    step = -(-len(passages) // _SAMPLE)
    sample = [passages[number] for number in range(0, len(passages), step)]
    return fit_projection(np.concatenate(sample), dim)


def _drawn(records: Sequence[Record], plan: HeadPlan, most: int) -> list[Record]:
    usable = [r for r in records if any(p.gold for p in r.passages)]
    rng = random.Random(plan.schedule.seed)  # noqa: S311
    return rng.sample(usable, min(len(usable), most))


def _taught(
    weights: Path, records: Sequence[Record], made: Contrasts, path: Path, progress: Progress
) -> list[list[float]]:
    """Return the teacher's scores, kept in a file as they take long."""
    shown = [item.passages for item in made.items]
    file = weights / "model.safetensors"
    if not file.is_file():
        raise InputError(f"{weights}: no trained compressor: it has no {file.name}")
    key = digest_of([sha256_of(file), made.questions, made.passages, shown])
    kept: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
    if kept.get("of") != key:
        scores = relevances(load(weights), records, made, progress)
        kept = {"of": key, "scores": scores}
        replace_file(path, json.dumps(kept).encode() + b"\n")
    return list(kept["scores"])
