"""Fusion of ranked lists, one query and one row at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Ranked = Sequence[tuple[int, float]]


def convex(lists: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """Weighted mean of min-max normalised scores."""
    total = sum(weights.get(kind, 1.0) for kind in lists)
    fused: dict[int, float] = {}
    for kind, ranked in lists.items():
        scores = [score for _, score in ranked]
        for row, score in ranked:
            low, high = min(scores), max(scores)
            scaled = 1.0 if low == high else (score - low) / (high - low)
            fused[row] = fused.get(row, 0.0) + weights.get(kind, 1.0) / total * scaled
    return fused


def reciprocal_rank(lists: Mapping[str, Ranked], constant: int) -> dict[int, float]:
    """Sum of 1 / (constant + rank)."""
    fused: dict[int, float] = {}
    for ranked in lists.values():
        for rank, (row, _) in enumerate(ranked, start=1):
            fused[row] = fused.get(row, 0.0) + 1 / (constant + rank)
    return fused
