"""Metadata filters as a command line writes them: `lang=en`, `year>=1990`, `draft!=true`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from ragib.config import NOT_YAML
from ragib.errors import InputError

_CONDITION = re.compile(r"(?P<key>[^<>=!]+)(?P<operator>>=|<=|!=|=|>|<)(?P<value>.*)", re.DOTALL)
_NAMES = {">=": "gte", "<=": "lte", "!=": "ne", ">": "gt", "<": "lt"}


def parse_where(conditions: Iterable[str]) -> dict[str, Any] | None:
    """Turn conditions into the `where` of a search; `None` if there are none.

    Values are read as YAML, so `2020` is a number and `true` is true. Metadata out of CSV files
    holds strings only, so with `=` the letters themselves match as well. `=` repeated for one key
    means any of the values; the other operators must all hold.

    Raises
    ------
    InputError
        A condition cannot be read, or two contradict each other in form.
    """
    where: dict[str, Any] = {}
    for condition in conditions:
        found = _CONDITION.fullmatch(condition)
        if found is None:
            raise InputError(
                f"--where {condition}: expected KEY=VALUE, as in lang=en or 'year>=1990'"
            )
        key, operator, text = found["key"].strip(), found["operator"], found["value"]
        value = _value(text)
        if operator == "=":
            entry = where.setdefault(key, [])
            if isinstance(entry, dict):
                raise InputError(f"--where {condition}: {key} already has another operator")
            entry += [value] if value == text else [value, text]
        else:
            entry = where.setdefault(key, {})
            if isinstance(entry, list) or _NAMES[operator] in entry:
                raise InputError(f"--where {condition}: {key} already has another value")
            entry[_NAMES[operator]] = value
    return where or None


def _value(text: str) -> str | int | float | bool | None:
    try:
        value = yaml.safe_load(text)
    except NOT_YAML:
        return text
    return value if isinstance(value, int | float | bool | str) or text == "null" else text
