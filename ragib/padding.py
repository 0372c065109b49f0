"""Rows of token ids of unlike length as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ragib.extras import require

if TYPE_CHECKING:
    from torch import Tensor


def pad_id(tokenizer: Any) -> int:  # noqa: ANN401
    """Return the token that fills up rows: the tokenizer's own, that which ends a text, or 0."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def padded(
    rows: Sequence[Sequence[int]], pad: int, side: Literal["left", "right"]
) -> tuple[Tensor, Tensor]:
    """Return the ids, and a mask that is 1 where they are no filling: `(n, longest)` int64 both.

    On the left for a model that is to go on from the last token of every row. On the right to
    read: in a causal model no token sees what stands behind it.
    """
    torch = require("torch", "a language model")
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    return ids, mask
