"""Metadata in a form in which a Qdrant server can filter it, with the meaning it has here.

Qdrant's own conditions on JSON differ from those of `ragib.indexes.filters`: a float is never
equal to anything, 1 is not 1.0, strings have no order, a key with null or an empty list does not
exist, and every key wants an index of its own. So each document carries what can be asked of it:

- *facts*, one list of strings: of every key `["key"]`, and of every value `["key", value]`, in
  JSON; long ones by their hash. One keyword index serves equality, any-of, `ne` and `exists`.
- *numbers* a key, for ranges; as doubles, so integers beyond 2**53 are compared as those.
- *strings* a key, for ranges: the rank of each among all strings the key has in the generation.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LONGEST = 120
"""Bytes of a fact that is kept as it is."""

PREFIX = 200
"""Characters of a string that decide its rank."""

Ranks = Mapping[str, Mapping[str, int]]
"""Key -> string -> its rank; keys and strings are in their order."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What can be asked of one document's metadata; `numbers` and `strings` are by key."""

    facts: list[str]
    numbers: dict[str, list[float]]
    strings: dict[str, list[str]]


def asked_of(metadata: Mapping[str, Any]) -> Asked:
    """Take metadata apart."""
    found = Asked([], {}, {})
    for key, value in reachable(metadata).items():
        found.facts.append(fact(key))
        for item in value if isinstance(value, list) else [value]:
            if item is not None and not isinstance(item, str | int | float | bool):
                continue
            found.facts.append(fact(key, item))
            if isinstance(item, str):
                found.strings.setdefault(key, []).append(item[:PREFIX])
            elif item is not None and not isinstance(item, bool):
                found.numbers.setdefault(key, []).append(number(item))
    return found


def reachable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return every key that a filter can name, with what it leads to.

    A dot leads into nested objects, unless the document has the dotted key itself.
    """
    return {**dict(_nested(metadata, "")), **metadata}


def _nested(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if "." in name:  # a filter's key would be cut at this dot
            continue
        yield prefix + name, value
        if isinstance(value, Mapping):
            yield from _nested(value, f"{prefix}{name}.")


def fact(key: str, *value: str | float | bool | None) -> str:
    """Write down that a key exists, or that it has a value.

    Numbers that are equal are written alike, whatever their type.
    """
    text = json.dumps([key, *map(_plain, value)], ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= _LONGEST and storable(text):
        return text
    return "sha256:" + hashlib.sha256(data).hexdigest()


def number(value: float) -> float:
    """Return a number as a double; the largest there is for those beyond."""
    most = sys.float_info.max
    return float(max(-most, min(value, most)))


def storable(text: str) -> bool:
    """Say whether a text is valid Unicode, without half of a surrogate pair."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def payload(asked: Asked, numbers: Sequence[str], ranks: Ranks) -> dict[str, Any]:
    """Return what a point keeps to be filtered by; keys go by their places in what was gathered."""
    places = {key: str(place) for place, key in enumerate(ranks)}
    return {
        "facts": asked.facts,
        "numbers": {str(numbers.index(key)): values for key, values in asked.numbers.items()},
        "strings": {
            places[key]: [ranks[key][text] for text in values]
            for key, values in asked.strings.items()
        },
    }


def gather(documents: Iterable[Mapping[str, Any]]) -> tuple[list[str], Ranks]:
    """Return the keys that have numbers in the metadata of any document, and the ranks by key."""
    numbers: set[str] = set()
    strings: dict[str, set[str]] = {}
    for metadata in documents:
        asked = asked_of(metadata)
        numbers.update(asked.numbers)
        for key, values in asked.strings.items():
            strings.setdefault(key, set()).update(values)
    ranks = {
        key: {text: i for i, text in enumerate(sorted(strings[key]))} for key in sorted(strings)
    }
    return sorted(numbers), ranks


def _plain(value: str | float | bool | None) -> str | float | bool | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
