"""From a record, whatever file it came from, to a document; and what becomes of bad ones."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from typing import Any

from ragib.errors import CorpusError, did_you_mean
from ragib.text import one_line
from ragib.types import PUBLIC, Document

ID_KEYS = ("_id", "id", "docid", "doc_id")
TEXT_KEYS = ("text", "contents")

# Neither can be stored as UTF-8 text by everything downstream. U+FFFD is what HTML and CommonMark
# put in the place of NUL; one character stands in for one, so offsets count as in the file.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(slots=True)
class BadRecords:
    """Collects the records that could not be used.

    Pass one to `read_corpus` to skip bad records instead of stopping at the first. All are
    counted; the first 100 are kept as `(where, why)`.
    """

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, why: str) -> None:
        """Count one bad record."""
        self.count += 1
        if len(self.first) < 100:
            self.first.append((where, why))


def refuse(bad: BadRecords | None, where: str, why: str) -> None:
    """Collect a bad record, or raise `CorpusError` when nobody collects."""
    why = one_line(why)
    if bad is None:
        raise CorpusError(f"{where}: {why}; correct it, or leave bad records out with --skip-bad")
    bad.add(where, why)


def clean(text: str) -> str:
    """Put U+FFFD in the place of every NUL and lone surrogate; the length stays the same."""
    return _UNSTORABLE.sub("\ufffd", text)


def document_of(record: Mapping[str, Any]) -> Document:
    """Make a document of a record.

    The id is under `_id`, `id`, `docid` or `doc_id`, the text under `text` or `contents`; `title`
    and `access` are optional. All that is in the object `metadata` and under any further key
    becomes metadata, except nulls. `access` is a list of groups, or one string of groups between
    commas; an empty one means that nobody may see the document, a missing key that everybody may.

    Raises
    ------
    ValueError
        The record cannot be used; the message says why.
    """
    id_key = _key(record, ID_KEYS, "id")
    text_key = _key(record, TEXT_KEYS, "text")
    text = record[text_key]
    if not isinstance(text, str):
        raise ValueError(f"{text_key!r} is {_kind(text)}, expected a string")
    if not text.strip():
        raise ValueError("the text is empty")
    title = record.get("title")
    if not isinstance(title, str | None):
        raise ValueError(f"'title' is {_kind(title)}, expected a string")
    access = _access(record["access"]) if "access" in record else (PUBLIC,)
    used = {id_key, text_key, "title", "access", "metadata"}
    try:
        metadata = _metadata({key: record[key] for key in record if key not in used}, record)
    except RecursionError:
        raise ValueError("the metadata is nested too deeply") from None
    return Document(
        id=_id(id_key, record[id_key]),
        text=clean(text),
        title=clean(title or ""),
        metadata=metadata,
        access=access,
    )


def _key(record: Mapping[str, Any], known: tuple[str, ...], what: str) -> str:
    for key in known:
        if key in record:
            return key
    found = [str(key) for key in record]
    near = next(filter(None, (did_you_mean(key, found) for key in known)), "")
    expected = " or ".join(repr(key) for key in known[:2])
    raise ValueError(f"no {what}: expected {expected}, found {', '.join(found) or 'no key'}{near}")


def _id(key: str, value: Any) -> str:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is {_kind(value)}, expected a string")
    if not value.strip():
        raise ValueError(f"{key!r} is empty")
    if _UNSTORABLE.search(value):
        raise ValueError(f"{key!r} holds a NUL or half a surrogate pair: {value!r}")
    return value


def _access(value: Any) -> tuple[str, ...]:  # noqa: ANN401
    if isinstance(value, str):
        value = [group for group in map(str.strip, value.split(",")) if group]
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"'access' is {_kind(value)}, expected a list of groups (an empty one: nobody may see "
            f"the document; [{PUBLIC!r}]: everybody)"
        )
    for group in value:
        if not isinstance(group, str) or not group.strip() or _UNSTORABLE.search(group):
            raise ValueError(f"'access' names {group!r}, which is not the name of a group")
    return tuple(dict.fromkeys(value))


def _metadata(extra: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    own: Any = record.get("metadata")
    if isinstance(own, str):  # as in a cell of a table
        try:
            own = json.loads(own) if own.strip() else None
        except json.JSONDecodeError:
            raise ValueError("'metadata' is a string but not a JSON object") from None
    if own is None:
        own = {}
    if not isinstance(own, Mapping):
        raise ValueError(f"'metadata' is {_kind(own)}, expected an object")
    both = sorted(extra.keys() & own.keys())
    if both:
        raise ValueError(f"{both[0]!r} is both a key of the record and of its metadata")
    values = {**extra, **own}
    return {clean(str(key)): _json(value) for key, value in values.items() if value is not None}


def _json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise ValueError(f"metadata holds {value}, which JSON does not know")
        return float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {clean(str(key)): _json(item) for key, item in value.items()}
    raise ValueError(f"metadata holds {_kind(value)}, expected JSON values")


def _kind(value: Any) -> str:  # noqa: ANN401
    return "null" if value is None else f"of type {type(value).__name__}"
