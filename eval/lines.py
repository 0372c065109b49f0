"""Lines and JSON records of data files: gzip and byte order marks are seen to, errors are plain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ragib.corpus.opening import DAMAGED, damage, lines, opened
from ragib.corpus.records import clean
from ragib.errors import InputError, did_you_mean


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, each with its 1-based number, without its line break.

    Raises
    ------
    InputError
        The file cannot be read, or a line of it is not text; the message names file and line.
    """
    try:
        with opened(path) as stream:
            for line in lines(stream):
                if line.problem:
                    raise InputError(f"{path}:{line.number}: {line.problem}")
                if line.text.strip():
                    yield line.number, line.text.rstrip("\r\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise InputError(f"{path}: {damage(error)}") from None


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON objects of a file, one a line, each with its place (`file:line`).

    Raises
    ------
    InputError
        As `numbered_lines`, or a line is no JSON object.
    """
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            what = error.msg.removesuffix(" at")
            raise InputError(f"{where}: not valid JSON: {what} at column {error.colno}") from None
        except RecursionError:
            raise InputError(f"{where}: the JSON is nested too deeply") from None
        except ValueError:  # Python reads integers of so many digits only when told to
            raise InputError(f"{where}: it holds a number of more than 4,300 digits") from None
        if not isinstance(record, dict):
            raise InputError(f"{where}: expected one JSON object a line, found {kind(record)}")
        yield where, record


def id_of(where: str, record: Mapping[str, Any], *keys: str) -> str:
    """Return the id under the first of the keys that is there; a whole number is taken as text.

    Raises
    ------
    InputError
        As `text_of`.
    """
    numbers = {key: str(record[key]) for key in keys if type(record.get(key)) is int}
    return text_of(where, {**record, **numbers}, *keys)


def text_of(where: str, record: Mapping[str, Any], *keys: str) -> str:
    """Return the text under the first of the keys that is there.

    Raises
    ------
    InputError
        No key is there, or the value is no text or empty; the message begins with `where`.
    """
    key = next((key for key in keys if key in record), None)
    if key is None:
        near = next(filter(None, (did_you_mean(key, record) for key in keys)), "")
        wanted, found = " or ".join(map(repr, keys)), ", ".join(record) or "no key"
        raise InputError(f"{where}: expected {wanted}, found {found}{near}")
    value = record[key]
    if not isinstance(value, str):
        raise InputError(f"{where}: {key!r} is {kind(value)}, expected a text")
    if not value.strip():
        raise InputError(f"{where}: {key!r} is empty")
    return clean(value)


def texts_of(where: str, record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the list of texts under a key, without repeats.

    Raises
    ------
    InputError
        The key is missing, or its value is no list of texts, or one is empty.
    """
    if key not in record:
        raise InputError(f"{where}: no {key!r} among {', '.join(record) or 'no keys'}")
    values = record[key]
    if not isinstance(values, list):
        raise InputError(f"{where}: {key!r} is {kind(values)}, expected a list of texts")
    for value in values:
        if not isinstance(value, str):
            raise InputError(f"{where}: {key!r} holds {kind(value)}, expected texts")
        if not value.strip():
            raise InputError(f"{where}: {key!r} holds an empty text; leave it out")
    return tuple(dict.fromkeys(map(clean, values)))


def kind(value: object) -> str:
    """Name the type of a JSON value, for messages."""
    return "null" if value is None else f"of type {type(value).__name__}"
