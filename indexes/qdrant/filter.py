"""Metadata filters and access lists as conditions that a Qdrant server applies before it scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ragib.errors import InputError
from ragib.indexes.filters import Where, compile_where
from ragib.indexes.qdrant.connect import models
from ragib.indexes.qdrant.facts import fact, number, storable
from ragib.indexes.qdrant.head import Head
from ragib.types import PUBLIC

Places = Callable[[str, str], tuple[int, int]]
"""Key, text -> how many strings of the key come before the text, and how many before or at it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which passages a search may return: those that meet `condition`, a `Filter`.

    Without a condition all may be returned, or none if `nothing`.
    """

    condition: Any = None
    nothing: bool = False


_NOTHING = Allowed(nothing=True)


def allowed(where: Where | None, allow: Iterable[str], head: Head, places: Places) -> Allowed:
    """Turn a filter and the asker's groups into conditions.

    Raises
    ------
    InputError
        The filter or the groups cannot be used.
    """
    groups = [] if isinstance(allow, str) else [*allow]
    if isinstance(allow, str) or not all(isinstance(group, str) for group in groups):
        raise InputError(f"allow: expected a list of group names, got {allow!r}")
    must: list[Any] = []
    must_not: list[Any] = []
    if where is not None:
        compile_where(where)
        if not where:
            return _NOTHING
        for key, wanted in where.items():
            if not _add(key, wanted, head, places, must, must_not):
                return _NOTHING
    if head.manifest.restricted or PUBLIC not in groups:
        known = sorted({group for group in groups if storable(group)})
        if not known:
            return _NOTHING
        must.append(_any("access", known))
    if not must and not must_not:
        return Allowed()
    return Allowed(models().Filter(must=must or None, must_not=must_not or None))


def _add(
    key: str,
    wanted: Any,  # noqa: ANN401
    head: Head,
    places: Places,
    must: list[Any],
    must_not: list[Any],
) -> bool:
    """Add what one key must be; false if nothing can be that."""
    if not isinstance(wanted, Mapping):
        options = wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
        facts = sorted({fact(key, option) for option in options})
        must.append(_any("facts", facts))
        return bool(facts)
    for name, operand in wanted.items():
        if name == "exists":
            (must if operand else must_not).append(_any("facts", [fact(key)]))
        elif name == "ne":
            must_not.append(_any("facts", [fact(key, operand)]))
        elif isinstance(operand, str):
            if key not in head.strings:
                return False
            must.append(_before_or_after(key, name, operand, head, places))
        else:
            if key not in head.numbers or operand != operand:
                return False
            place = f"numbers.{head.numbers.index(key)}"
            must.append(_range(place, name, number(operand)))
    return bool(wanted)


def _before_or_after(key: str, name: str, text: str, head: Head, places: Places) -> Any:  # noqa: ANN401
    before, through = places(key, text)
    place = f"strings.{list(head.strings).index(key)}"
    if name in ("gte", "lt"):
        return _range(place, name, before)
    return _range(place, "gte" if name == "gt" else "lt", through)


def _range(place: str, name: str, bound: float) -> Any:  # noqa: ANN401
    m = models()
    return m.FieldCondition(key=place, range=m.Range(**{name: bound}))


def _any(place: str, values: list[str]) -> Any:  # noqa: ANN401
    m = models()
    return m.FieldCondition(key=place, match=m.MatchAny(any=values))
