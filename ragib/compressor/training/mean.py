"""The mean of several trainings: often better than each, and as quick as one.

Weights that were trained on from the same ones lie in one basin, and so does their mean: Wortsman
et al. 2022, "Model soups", arXiv:2203.05482.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ragib.compressor.model import EvidenceModel, load
from ragib.errors import InputError
from ragib.extras import require


def load_mean(folders: Sequence[Path]) -> EvidenceModel:
    """Load the models of one or more folders as one, whose weights are the mean of theirs.

    Raises
    ------
    InputError
        A folder holds no model, or one of another base or other settings than the first.
    """
    torch = require("torch", "training")
    first, *others = [load(folder) for folder in folders]
    for folder, model in zip(folders[1:], others, strict=True):
        if model.settings != first.settings:
            raise InputError(
                f"{folder}: cannot be averaged with {folders[0]}: its settings are "
                f"{model.settings}, those of the first {first.settings}"
            )
    states = [model.modules.state_dict() for model in (first, *others)]
    mean = {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[0].items()
    }
    first.modules.load_state_dict(mean)
    return first
