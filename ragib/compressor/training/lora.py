"""Low-rank adapters for large encoders (LoRA: Hu et al. 2021, arXiv:2106.09685).

Beside every linear layer W x of the encoder stands s B A x, with A and B of a small rank r and
s = 2; only A, B and the heads are trained. At the end W becomes W + s B A, so that the weights that
are saved have the same form as after full training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ragib.compressor.model import EvidenceModel
from ragib.errors import InputError
from ragib.extras import require

_PURPOSE = "training with --lora"
_SCALE = 2


def add_adapters(model: EvidenceModel, rank: int, seed: int) -> Callable[[], None]:
    """Freeze the encoder, and put adapters beside its linear layers.

    Parameters
    ----------
    model
        Changed in place; its heads go on being trained.
    rank
        The rank of the adapters.
    seed
        Draws the first values of A; B begins at 0, so that nothing changes yet.

    Returns
    -------
    Callable
        Merges the adapters into the layers they stand beside; call it once, when trained.

    Raises
    ------
    InputError
        The encoder has no linear layers.
    MissingExtraError
        `peft` is not installed.
    """
    torch = require("torch", _PURPOSE)
    peft = require("peft", _PURPOSE)
    encoder: Any = model.modules["encoder"]
    encoder.requires_grad_(False)
    config = peft.LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules="all-linear")
    torch.manual_seed(seed)
    try:
        adapted = peft.LoraModel(encoder, config, "default")
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"model {model.settings.base}: no place for adapters: {reason}") from None

    def merge() -> None:
        adapted.merge_and_unload()

    return merge
