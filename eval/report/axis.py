"""Axes: where a value lies along a chart, and which values get a tick."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_LEAST, _MOST = 1e-12, 1e15
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end` (SVG units)."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the place of a value; on a logarithmic axis it must be positive."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / (high - low)
        return (1 - share) * self.start + share * self.end  # exact at both ends


def linear_axis(
    values: Iterable[float], start: float, end: float, *, zero: bool = False, count: int = 5
) -> Axis:
    """Cover values (`usable` ones, perhaps none) from tick to tick, about `count` of them.

    `zero` makes 0 part of the axis.
    """
    found = [*values, *([0.0] if zero else [])] or [0.0, 1.0]
    low, high = min(found), max(found)
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, _LEAST):
        room = largest / 5 if largest > _LEAST else 0.5
        if not zero:
            low = max(low - room, 0.0) if low >= 0 else low - room
        high += room
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * 0.999999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    ticks = tuple(float(f"{i * step:.10g}") for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, False, ticks)


def cost_axis(values: Iterable[float], start: float, end: float) -> Axis:
    """Cover positive values: on a logarithmic scale where they span more than a decade."""
    found = list(values)
    if not found or max(found) <= 10 * min(found):
        return linear_axis(found, start, end, zero=True)
    return log_axis(found, start, end)


def log_axis(values: Iterable[float], start: float, end: float) -> Axis:
    """Cover positive values (at least one) with a tick at each decade, and at 2 and 5 if few."""
    found = list(values)
    low, high = min(found) / 1.2, max(found) * 1.2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    all_ticks = [float(f"{part}e{decade}") for decade in decades for part in parts]
    ticks = tuple(tick for tick in all_ticks if low <= tick <= high)
    return Axis(low, high, start, end, True, ticks)


def short(value: float) -> str:
    """Write a number for a tick: `0.25`, `1,500`, `20k`, `3M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def usable(value: float | None, *, positive: bool = False) -> bool:
    """Say whether there is a number of a size that can be shown, above zero if need be."""
    if value is None or not math.isfinite(value):
        return False
    return (_LEAST if positive else -_MOST) <= value <= _MOST
