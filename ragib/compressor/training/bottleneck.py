"""The information bottleneck: keep little, and still answer from what is kept.

With theta_i the mean keep-probability of the tokens of sentence i, l_i its length in tokens and
m_i ~ Bern(theta_i) its mask, the loss is

    E_m[-log p(y | m * x, q)] + beta * rate + c * contiguity + a * supervised
    rate = sum_i l_i KL(Bern(theta_i) || Bern(pi)) / sum_i l_i
    contiguity = mean_i |theta_i - theta_(i+1)|

the variational form of min I(X~;X|Q) - I(X~;Y|Q) / beta (Alemi et al. 2017, arXiv:1612.00410;
Paranjape et al. 2020, arXiv:2005.00652). Masks are binary-concrete with a straight-through
gradient (Maddison et al. 2017, arXiv:1611.00712); a dropped sentence shows mask tokens. beta
follows dual ascent on (kept share - target): for answers that the passage all but determines, no
fixed beta reaches every rate. The supervised losses of the warm start keep the other heads alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragib.compressor.model import EvidenceModel
from ragib.compressor.training.data import Example
from ragib.compressor.training.warm_start import supervised
from ragib.compressor.windows import collate
from ragib.extras import require

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The constants of the objective.

    `target` is the share of tokens to keep, which is also the prior pi; `rate` the step of the
    dual ascent; `temperature` that of the binary-concrete distribution.
    """

    target: float = 0.1
    rate: float = 0.02
    temperature: float = 0.5
    contiguity: float = 0.05
    supervision: float = 0.5


class BottleneckLoss:
    """The loss of a batch; `beta`, its one piece of state, moves with every call."""

    def __init__(self, constants: Bottleneck, beta: float = 0.0) -> None:
        self.constants = constants
        self.beta = beta

    def __call__(
        self, model: EvidenceModel, examples: Sequence[Example]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts by name."""
        torch = require("torch", "training")
        constants = self.constants
        batch = collate([e.pair for e in examples], model.special.pad)
        number = np.full(batch.ids.shape, -1, np.int64)
        for row, example in enumerate(examples):
            number[row, : len(example.sentence)] = example.sentence
        open_outputs = model.forward(batch)
        place = torch.from_numpy(number).to(model.device)
        theta, length = sentence_probabilities(open_outputs.keep, place)
        mask = binary_concrete(theta, constants.temperature)
        gate = torch.where(place < 0, 1.0, mask.gather(1, place.clamp(min=0)))
        masked = supervised(model.forward(batch, gate), examples)
        shown = supervised(open_outputs, examples)
        real = length > 0
        weight = length / length.sum()
        rate = (weight * bernoulli_kl(theta, constants.target)).sum()
        kept = (weight * theta).sum()
        steps = (theta[:, 1:] - theta[:, :-1]).abs()[real[:, 1:] & real[:, :-1]]
        contiguity = steps.mean() if len(steps) else theta.sum() * 0
        loss = (
            masked["span"]
            + self.beta * rate
            + constants.contiguity * contiguity
            + constants.supervision * (shown["keep"] + shown["relevance"] + shown["span"])
        )
        parts = {
            "answer": float(masked["span"].detach()),
            "rate": float(rate.detach()),
            "kept": float(kept.detach()),
            "beta": self.beta,
            **{name: float(part.detach()) for name, part in shown.items()},
        }
        self.beta = max(0.0, self.beta + constants.rate * (parts["kept"] - constants.target))
        return loss, parts


def sentence_probabilities(keep: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Average keep-probabilities over sentences.

    Parameters
    ----------
    keep
        `(b, t)` logits.
    place
        `(b, t)` int64: the number of the sentence of each token, -1 outside.

    Returns
    -------
    theta, length
        `(b, s)` mean probabilities (0 where there is no sentence) and numbers of tokens.
    """
    torch = require("torch", "training")
    count = max(1, int(place.max()) + 1)
    inside = (place >= 0).float()
    index = place.clamp(min=0)
    zeros = torch.zeros(len(place), count, device=keep.device)
    length = zeros.scatter_add(1, index, inside)
    total = zeros.scatter_add(1, index, torch.sigmoid(keep) * inside)
    return total / length.clamp(min=1), length


def binary_concrete(theta: Tensor, temperature: float) -> Tensor:
    """Draw masks in {0, 1} whose gradient is that of the relaxed draw; `theta` in [0, 1]."""
    torch = require("torch", "training")
    theta = theta.clamp(1e-4, 1 - 1e-4)
    noise = torch.rand_like(theta).clamp(1e-6, 1 - 1e-6)
    logits = torch.logit(theta) + torch.logit(noise)
    soft = torch.sigmoid(logits / temperature)
    mask: Tensor = (logits > 0).float() + soft - soft.detach()
    return mask


def bernoulli_kl(theta: Tensor, prior: float) -> Tensor:
    """Return KL(Bern(theta) || Bern(prior)) in nats, elementwise."""
    torch = require("torch", "training")
    theta = theta.clamp(1e-6, 1 - 1e-6)
    kept = theta * (torch.log(theta) - float(np.log(prior)))
    dropped = (1 - theta) * (torch.log1p(-theta) - float(np.log1p(-prior)))
    total: Tensor = kept + dropped
    return total
