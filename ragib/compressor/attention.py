"""Attention for short heads on a CPU: scores, softmax and sums all in the precision of the input.

With heads of 32 dimensions the fused kernels of CPUs take three times as long, and the plain form
of the transformers library goes through float32 for its softmax; this one takes half its time in
bfloat16, and gives the same but for rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ragib.extras import require

if TYPE_CHECKING:
    import torch

NAME = "ragib-plain"
_PURPOSE = "the trained compressor"


def use_plain_attention(encoder: Any) -> None:  # noqa: ANN401
    """Switch an encoder of the transformers library to it, if its attention can be exchanged."""
    if getattr(encoder, "_supports_attention_backend", False):
        library = require("transformers", _PURPOSE)
        masks = require("transformers.masking_utils", _PURPOSE)
        library.AttentionInterface.register(NAME, plain_attention)
        library.AttentionMaskInterface.register(NAME, masks.eager_mask)
        encoder.set_attn_implementation(NAME)


def plain_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softmax(q k / sqrt(d) + mask) v as `(b, t, h, d)`, and the weights `(b, h, t, t)`.

    Parameters
    ----------
    module
        The layer that asks; its mode decides whether there is dropout.
    query, key, value
        `(b, h, t, d)`.
    attention_mask
        `(b, 1, t, t)`, added to the scores.
    scaling
        Factor of the scores; 1 / sqrt(d) if not given.
    dropout
        Share of the weights that training sets to zero.
    """
    torch = require("torch", _PURPOSE)
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * factor, key.transpose(2, 3))
    if attention_mask is not None:
        # What is masked is the least of its own precision, which may be -inf in that of the scores.
        scores = scores + attention_mask.to(scores.dtype)
    with torch.autocast(query.device.type, enabled=False):
        weights = torch.softmax(scores, dim=-1)
        weights = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
        summed = torch.matmul(weights, value.to(weights.dtype))
    return summed.transpose(1, 2).contiguous(), weights
