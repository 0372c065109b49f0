"""Vectors by the hundred thousand, made of some thousand real ones.

Real vectors stand as they are. Each of the others is one of them with half the difference of two
more added: such differences have the directions in which real vectors differ, and as much of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import click
import numpy as np
from numpy.typing import NDArray

from ragib.encoders import Encoder
from ragib.eval.bench.scale import distinct
from ragib.eval.datasets import JudgedSet
from ragib.text import batched

Matrix = NDArray[np.float32]

_MIXED = 0.5
_BATCH = 256


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of passages, `(n, d)`, the first `real` of them an encoder's; and of questions."""

    passages: Matrix
    queries: Matrix
    real: int


def encode(data: JudgedSet, real: int, questions: int, encoder: Encoder) -> tuple[Matrix, Matrix]:
    """Encode passages spread over the whole corpus, and questions."""
    total = sum(1 for _ in distinct(data))
    step = max(total // real, 1)
    texts = [(d.title, d.text) for d in islice(distinct(data), 0, step * real, step)]
    found: list[Matrix] = []
    for some in batched(texts, _BATCH):
        vectors = encoder.passages(some, dense=True, tokens=False).dense
        assert vectors is not None
        found.append(vectors)
        click.echo(f"encoded: {sum(map(len, found)):,}", err=True)
    asked = list(data.queries.values())[:questions]
    queries = encoder.queries(asked, dense=True, tokens=False).dense
    assert queries is not None
    return _unit(np.concatenate(found)), _unit(queries)


def mix(real: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    """Make `(count, d)` unit vectors: the real ones, then mixtures of three of them."""
    if count <= len(real):
        return real[:count]
    first, plus, minus = rng.integers(0, len(real), (3, count - len(real)))
    mixed = real[first] + np.float32(_MIXED) * (real[plus] - real[minus])
    return np.concatenate([real, _unit(mixed)])


def _unit(vectors: Matrix) -> Matrix:
    scaled: Matrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled
