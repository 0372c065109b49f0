"""Judging by a model that runs here: batch by batch, with a look at the clock between two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

from ragib.rerankers.base import Verdicts
from ragib.text import batched

T = TypeVar("T")


def judged(
    items: Sequence[T],
    size: int,
    seconds: float | None,
    score: Callable[[Sequence[T]], tuple[Sequence[float], int]],
) -> Verdicts:
    """Score items, `size` at a time, and begin no batch once `seconds` have passed.

    `score` returns the scores of a batch, and the tokens that were read for them.
    """
    begin = perf_counter()
    scores: list[float | None] = []
    calls = tokens = 0
    for batch in batched(items, size):
        if seconds is not None and perf_counter() - begin >= seconds:
            break
        found, read = score(batch)
        scores += found
        tokens += read
        calls += 1
    missing = len(items) - len(scores)
    return Verdicts([*scores, *[None] * missing], calls, tokens, late=missing > 0)
