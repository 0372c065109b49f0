"""Questions with their passages as JSON lines: how they are read, and how results are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragib.corpus.opening import Line, lines, opened
from ragib.corpus.records import BadRecords, refuse
from ragib.errors import InputError, did_you_mean
from ragib.types import Compressed, Passage, Question

_HALF = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """Put U+FFFD for halves of surrogate pairs, which no encoder can read; offsets stay."""
    return _HALF.sub("\ufffd", text)


def read_questions(path: Path, bad: BadRecords | None = None) -> Iterator[Question]:
    """Stream the questions of a JSON-lines file, gzip'd or not.

    A record is `{"id", "question", "passages": [{"id", "text", "title"}, …]}`; titles are
    optional, further keys are passed over, and so are blank lines.

    Parameters
    ----------
    path
        The file.
    bad
        Collects the records that cannot be used, with file, line and reason.

    Raises
    ------
    InputError
        The file cannot be read or, if nobody collects, a record cannot be used.
    """
    first_at: dict[str, int] = {}
    try:
        with opened(path) as stream:
            for line in lines(stream):
                if not line.problem and not line.text.strip():
                    continue
                where = f"{path}:{line.number}"
                try:
                    question = question_of(_record(line))
                    seen = first_at.setdefault(question.id, line.number)
                    if seen != line.number:
                        raise ValueError(f"id {question.id!r} is used in line {seen} already")
                except (ValueError, RecursionError) as error:
                    refuse(bad, where, str(error))
                    continue
                yield question
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def question_of(record: Mapping[str, Any]) -> Question:
    """Make a question of a record.

    Raises
    ------
    ValueError
        The record cannot be used; the message says why.
    """
    text = _value(record, "question", str, "a string")
    if not text.strip():
        raise ValueError("'question' is empty")
    found: dict[str, Passage] = {}
    passages: list[Passage] = []
    for number, item in enumerate(_value(record, "passages", list, "a list"), start=1):
        if not isinstance(item, dict):
            raise ValueError(f"passage {number} is {_kind(item)}, expected an object")
        try:
            passage = _passage(item)
        except ValueError as error:
            raise ValueError(f"passage {number}: {error}") from None
        if found.setdefault(passage.id, passage).text != passage.text:
            raise ValueError(f"passage {number}: id {passage.id!r} is that of another text")
        passages.append(passage)
    return Question(_id(record), whole(text), tuple(passages))


def to_line(result: Compressed) -> str:
    """Write a result as one line of JSON; its keys are the fields of `Compressed`."""
    return json.dumps(asdict(result), ensure_ascii=False, allow_nan=False) + "\n"


def _passage(item: Mapping[str, Any]) -> Passage:
    text = whole(_value(item, "text", str, "a string"))
    title = item.get("title")
    if not isinstance(title, str | None):
        raise ValueError(f"'title' is {_kind(title)}, expected a string")
    name = _id(item)
    return Passage(name, name, text, whole(title or ""))


def _record(line: Line) -> dict[str, Any]:
    if line.problem:
        raise ValueError(line.problem)
    try:
        record = json.loads(line.text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected one JSON object a line, found {_kind(record)}")
    return record


def _value(record: Mapping[str, Any], key: str, kind: type, expected: str) -> Any:  # noqa: ANN401
    if key not in record:
        raise ValueError(
            f"no {key!r} among {', '.join(record) or 'no keys'}{did_you_mean(key, record)}"
        )
    if not isinstance(record[key], kind):
        raise ValueError(f"{key!r} is {_kind(record[key])}, expected {expected}")
    return record[key]


def _id(record: Mapping[str, Any]) -> str:
    if isinstance(record.get("id"), int) and not isinstance(record["id"], bool):
        return str(record["id"])
    name: str = _value(record, "id", str, "a string")
    if not name.strip() or _HALF.search(name):
        raise ValueError(f"'id' is empty or no proper text: {name!r}")
    return name


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"
