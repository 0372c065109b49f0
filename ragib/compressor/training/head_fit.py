"""The updates of a token head, over token vectors that are computed already."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.training.contrasts import Contrast, Contrasts
from ragib.compressor.training.late import contrastive, margin_mse, maxsim, pooled, projected
from ragib.compressor.training.loop import Progress, Schedule
from ragib.compressor.training.token_states import TokenStates
from ragib.config import EncoderConfig
from ragib.errors import RagibError
from ragib.extras import require

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float32]

_PURPOSE = "training"
_LOG_EVERY = 20


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What to train a head on, and how.

    `factors` are the pool factors inside training, one drawn for every update; 1 pools nothing.
    At most `questions` are drawn, of `sources` (none: all). `scale` multiplies scores before the
    cross-entropy; it is learned. With a `teacher`, a folder of a trained compressor, the head
    learns its margins in place of the contrast.
    """

    schedule: Schedule = field(default_factory=lambda: Schedule(300, rate=1e-3))
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dim: int = 128
    factors: tuple[float, ...] = (1.0, 2.0, 3.0, 6.0)
    questions: int = 3000
    sources: tuple[str, ...] = ()
    scale: float = 2.0
    teacher: Path | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """Contrasts, and the token vectors of their questions and passages."""

    made: Contrasts
    questions: TokenStates
    passages: TokenStates


def fit(
    train: Cached,
    start: Matrix,
    plan: HeadPlan,
    teacher: Sequence[Sequence[float]] | None,
    progress: Progress,
) -> tuple[Matrix, list[dict[str, float]]]:
    """Train a projection, from `start` on; one seed gives one result.

    Parameters
    ----------
    train
        What to train on.
    start
        `(d, dim)`.
    plan
        How to.
    teacher
        Scores of the passages of each contrast; `None` trains by the contrast.
    progress
        Called with `train`, updates done, updates in all.

    Returns
    -------
    tuple[Matrix, list[dict[str, float]]]
        The projection, `(d, dim)`, and the log, one entry every 20 updates.

    Raises
    ------
    RagibError
        The loss is not a number.
    """
    torch = require("torch", _PURPOSE)
    schedule = plan.schedule
    rng = random.Random(schedule.seed)  # noqa: S311
    projection = torch.tensor(start, requires_grad=True)
    scale = torch.tensor(float(np.log(plan.scale)), requires_grad=True)
    optimiser = torch.optim.Adam([projection, scale], lr=schedule.rate)
    order: list[int] = []
    recent: list[float] = []
    log: list[dict[str, float]] = []
    for step in range(schedule.steps):
        progress("train", step, schedule.steps)
        while len(order) < schedule.batch_size:
            order += rng.sample(range(len(train.made.items)), len(train.made.items))
        rows, order = order[: schedule.batch_size], order[schedule.batch_size :]
        factor = rng.choice(plan.factors)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * schedule.factor(step)
        optimiser.zero_grad(set_to_none=True)
        taught = None if teacher is None else [teacher[row] for row in rows]
        items = [train.made.items[row] for row in rows]
        loss: Any = batch_loss(train, items, projection, scale.exp(), factor, taught)
        if not torch.isfinite(loss):
            raise RagibError("the loss is not a number; lower the learning rate")
        loss.backward()
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == schedule.steps:
            mean, scaled = sum(recent) / len(recent), scale.exp().item()
            log.append({"step": step + 1, "loss": round(mean, 4), "scale": round(scaled, 3)})
            recent.clear()
    return projection.detach().numpy(), log


def batch_loss(
    train: Cached,
    items: Sequence[Contrast],
    projection: Tensor,
    scale: Tensor,
    factor: float,
    teacher: Sequence[Sequence[float]] | None,
) -> Tensor:
    """Return the loss of some contrasts; see `fit`."""
    torch = require("torch", _PURPOSE)
    numbers = list(dict.fromkeys(number for item in items for number in item.passages))
    column = {number: i for i, number in enumerate(numbers)}
    queries, lengths = projected([train.questions[item.question] for item in items], projection)
    vectors, counts = projected([train.passages[number] for number in numbers], projection)
    vectors, counts = pooled(vectors, counts, factor)
    scores = scale * maxsim(queries, lengths, vectors, counts)
    columns = [[column[number] for number in item.passages] for item in items]
    if teacher is not None:
        return margin_mse([scores[row, line] for row, line in enumerate(columns)], teacher)
    golds = torch.tensor([[number in item.golds for number in numbers] for item in items])
    return contrastive(scores, [line[0] for line in columns], golds)


def reciprocal_rank(dev: Cached, projection: Matrix, factor: float) -> float:
    """Return the mean reciprocal rank of the questions' own passages among all passages."""
    torch = require("torch", _PURPOSE)
    ranks: list[float] = []
    with torch.inference_mode():
        matrix = torch.from_numpy(projection)
        passages = [dev.passages[number] for number in range(len(dev.passages))]
        vectors, counts = pooled(*projected(passages, matrix), factor)
        for item in dev.made.items:
            queries, lengths = projected([dev.questions[item.question]], matrix)
            scores = maxsim(queries, lengths, vectors, counts)[0].numpy()
            best = max(scores[number] for number in item.golds)
            others = np.delete(scores, list(item.golds))
            ranks.append(1 / (1 + int((others >= best).sum())))
    return sum(ranks) / len(ranks)
