"""The warm start: plain supervised losses of the three heads.

    L = BCE(keep, token is evidence) + CE(start, end) / 2 + BCE(relevance)

Token losses are means over the passage tokens of the batch, the others over its sequences. A
distractor's answer is the first token, which stands for "nowhere".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ragib.compressor.model import EvidenceModel, Outputs
from ragib.compressor.training.data import Example
from ragib.compressor.windows import collate
from ragib.extras import require

if TYPE_CHECKING:
    import torch


def warm_start_loss(
    model: EvidenceModel, examples: Sequence[Example]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of a batch and its parts by name."""
    outputs = model.forward(collate([e.pair for e in examples], model.special.pad))
    parts = supervised(outputs, examples)
    total = parts["keep"] + parts["span"] + parts["relevance"]
    return total, {name: float(part.detach()) for name, part in parts.items()}


def supervised(outputs: Outputs, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Return the three losses: `keep`, `span`, `relevance`."""
    torch = require("torch", "training")
    functional = torch.nn.functional
    device = outputs.keep.device
    labels = np.full(tuple(outputs.keep.shape), -1, np.int8)
    for row, example in enumerate(examples):
        labels[row, : len(example.keep)] = example.keep
    keep = torch.from_numpy(labels).to(device)
    known = keep >= 0
    relevant = torch.tensor([float(e.relevant) for e in examples], device=device)
    # A summed loss over at least one, so that a batch without a known answer gives 0.
    answered = max(1, sum(e.start >= 0 for e in examples))
    start = torch.tensor([e.start for e in examples], device=device)
    end = torch.tensor([e.end for e in examples], device=device)
    span = dict(ignore_index=-1, reduction="sum")
    bce = functional.binary_cross_entropy_with_logits
    return {
        "keep": bce(outputs.keep[known], keep[known].float()),
        "span": (
            functional.cross_entropy(outputs.start, start, **span)
            + functional.cross_entropy(outputs.end, end, **span)
        )
        / (2 * answered),
        "relevance": bce(outputs.relevance, relevant),
    }


def mean_loss(model: EvidenceModel, examples: Sequence[Example], batch_size: int) -> float:
    """Average the warm-start loss over examples, without training."""
    torch = require("torch", "training")
    total = 0.0
    with torch.inference_mode():
        for begin in range(0, len(examples), batch_size):
            batch = examples[begin : begin + batch_size]
            total += float(warm_start_loss(model, batch)[0]) * len(batch)
    return total / len(examples)
