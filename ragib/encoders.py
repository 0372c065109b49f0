"""Encoders: text in, one vector and (on request) the token vectors of every text out.

Dense and multi-vector indexes of the same model share one forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """The tokens of one text.

    `vectors` is `(t, d)` float32, rows of unit length. `spans` is `(t, 2)` int32: the characters
    of the passage's text each token covers; `(-1, -1)` for tokens of the title and special tokens.
    """

    vectors: NDArray[np.float32]
    spans: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What an encoder made of `n` texts.

    `dense` is `(n, d)` float32, `tokens` has `n` entries; either is `None` if not asked for.
    """

    dense: NDArray[np.float32] | None
    tokens: Sequence[TokenVectors] | None


class Encoder(Protocol):
    """Text to vectors."""

    name: str
    revision: str

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Encode `(title, text)` pairs; the title is read in front of the text."""
        ...

    def queries(self, texts: Sequence[str], *, dense: bool, tokens: bool) -> Encoded:
        """Encode questions."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text, without special tokens."""
        ...
