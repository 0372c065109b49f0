"""Metadata filters: which documents a search may return, decided before anything is scored.

A filter maps metadata keys to what they must be; all must hold::

    {"year": 1999}                         equal
    {"lang": ["en", "de"]}                 any of
    {"year": {"gte": 1990, "lt": 2000}}    in a range
    {"source.kind": {"ne": "web"}}         not equal, or without that key
    {"draft": {"exists": False}}           without that key

A dot leads into nested objects, unless the document has the dotted key itself. A list in the
metadata meets a condition if one of its elements does. Numbers and strings are ordered among
themselves and never compared with each other; true is not 1. An empty filter, an empty list and
an empty range match nothing: what selects nothing must never select everything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from ragib.errors import InputError, did_you_mean

Where = Mapping[str, Any]
"""Metadata key -> value, list of values, or operators with their values."""

Test = Callable[[Any], bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gte": operator.ge,
    "lte": operator.le,
    "gt": operator.gt,
    "lt": operator.lt,
}
_OPERATORS = (*_ORDER, "ne", "exists")
_ABSENT = object()


def compile_where(where: Where) -> Callable[[Mapping[str, Any]], bool]:
    """Turn a filter into a function that says whether metadata meets it.

    Raises
    ------
    InputError
        A key, an operator or a value cannot be used; the message names it.
    """
    if not isinstance(where, Mapping):
        raise InputError(f"where: expected keys and values, got {where!r}")
    tests = [(key, _test(key, wanted)) for key, wanted in where.items()]

    def matches(metadata: Mapping[str, Any]) -> bool:
        return bool(tests) and all(test(_value(metadata, key)) for key, test in tests)

    return matches


def _value(metadata: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401
    if key in metadata:
        return metadata[key]
    node: Any = metadata
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _test(key: str, wanted: Any) -> Test:  # noqa: ANN401
    if not isinstance(key, str) or not key:
        raise InputError(f"where: {key!r} is not the name of a metadata key")
    if isinstance(wanted, Mapping):
        tests = [_operation(key, name, operand) for name, operand in wanted.items()]
        return lambda value: bool(tests) and all(test(value) for test in tests)
    options = list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
    for option in options:
        _check_scalar(key, option)
    return lambda value: _some(value, lambda item: any(_equal(item, o) for o in options))


def _operation(key: str, name: str, operand: Any) -> Test:  # noqa: ANN401
    if name not in _OPERATORS:
        raise InputError(
            f"where: {key}: unknown operator {name!r}{did_you_mean(str(name), _OPERATORS)} "
            f"(known: {', '.join(_OPERATORS)})"
        )
    if name == "exists":
        if not isinstance(operand, bool):
            raise InputError(f"where: {key}: exists must be true or false, got {operand!r}")
        return lambda value: (value is not _ABSENT) is operand
    _check_scalar(key, operand)
    if name == "ne":
        return lambda value: not _some(value, lambda item: _equal(item, operand))
    if not _number(operand) and not isinstance(operand, str):
        raise InputError(f"where: {key}: {name} needs a number or a string, got {operand!r}")
    compare = _ORDER[name]
    return lambda value: _some(
        value, lambda item: _comparable(item, operand) and compare(item, operand)
    )


def _some(value: Any, test: Test) -> bool:  # noqa: ANN401
    if value is _ABSENT:
        return False
    return any(test(item) for item in value) if isinstance(value, list) else test(value)


def _number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool)


def _comparable(left: Any, right: Any) -> bool:  # noqa: ANN401
    return (_number(left) and _number(right)) or (isinstance(left, str) and isinstance(right, str))


def _equal(left: Any, right: Any) -> bool:  # noqa: ANN401
    return (type(left) is type(right) or _comparable(left, right)) and bool(left == right)


def _check_scalar(key: str, value: Any) -> None:  # noqa: ANN401
    if value is not None and not isinstance(value, str | int | float | bool):
        raise InputError(
            f"where: {key}: expected a string, a number, true, false or null, got {value!r}"
        )
