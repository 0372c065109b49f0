"""JSON lines: one object a line, as in BEIR (`_id, title, text`) and Anserini (`id, contents`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from ragib.corpus.opening import Line, lines
from ragib.corpus.records import BadRecords, document_of, refuse
from ragib.types import Document


def read_jsonl(
    name: str, stream: BufferedReader, bad: BadRecords | None
) -> Iterator[tuple[str, Document]]:
    """Yield every document with where it stands (`name:line`); blank lines are passed over."""
    for line in lines(stream):
        where = f"{name}:{line.number}"
        if line.number == 1 and line.text.strip()[:1] in ("[", "{") and len(line.text.strip()) == 1:
            why = "one JSON value over many lines, expected one object a line"
            refuse(bad, where, f"{why} (jq -c '.[]' makes them of an array)")
            return
        if not line.problem and line.text.isspace():
            continue
        try:
            yield where, document_of(_record(line))
        except ValueError as error:
            refuse(bad, where, str(error))


def _record(line: Line) -> dict[str, Any]:
    if line.problem:
        raise ValueError(line.problem)
    try:
        record = json.loads(line.text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise ValueError(f"not valid JSON: {what} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected one JSON object a line, found a {type(record).__name__}")
    return record


def _no_constant(name: str) -> None:
    raise ValueError(f"not valid JSON: {name} is not a JSON number")
