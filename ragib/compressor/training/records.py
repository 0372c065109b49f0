"""Questions with passages and where the evidence stands, as they are read from a file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragib.errors import CorpusError
from ragib.text import Span

ANSWER_SENTENCE = "answer-sentence"
"""The kind of evidence that is no more than the sentences with the answer."""


@dataclass(frozen=True, slots=True)
class LabelledPassage:
    """A passage with the spans of the answers and of the evidence in it (none: a distractor)."""

    id: str
    title: str
    text: str
    gold: bool
    answers: tuple[Span, ...]
    evidence: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A question with labelled passages."""

    id: str
    source: str
    question: str
    answers: tuple[str, ...]
    answerable: bool
    evidence_kind: str
    passages: tuple[LabelledPassage, ...]


def read_records(path: Path, sources: Iterable[str] = ()) -> Iterator[Record]:
    """Read records from JSON lines, gzip'd or not; `sources` (if any) says which to take.

    Raises
    ------
    CorpusError
        The file cannot be read or a line is no record; the message names file and line.
    """
    wanted = set(sources)
    number = 0
    try:
        opened = gzip.open if _zipped(path) else open
        with opened(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    record = record_of(json.loads(line))
                    if not wanted or record.source in wanted:
                        yield record
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, EOFError) as error:
        kind = "lacks the key " if isinstance(error, KeyError) else "not a record: "
        raise CorpusError(f"{path}:{number}: {kind}{error}") from None


def _zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def record_of(values: Mapping[str, Any]) -> Record:
    """Make a record of one line's values.

    A passage that stands twice in it is taken once, labelled if either copy is.

    Raises
    ------
    ValueError, KeyError, TypeError
        It is no record.
    """
    passages: dict[str, LabelledPassage] = {}
    listed = values["passages"]
    kind = str(values.get("evidence_kind", ANSWER_SENTENCE))
    for passage in (_passage(value, kind) for value in listed):
        if passage.id not in passages or passage.gold:
            passages[passage.id] = passage
    return Record(
        id=str(values["id"]),
        source=str(values.get("source", "")),
        question=str(values["question"]),
        answers=tuple(map(str, values["answers"])),
        answerable=bool(values.get("answerable", True)),
        evidence_kind=kind,
        passages=tuple(passages.values()),
    )


def _passage(values: Mapping[str, Any], kind: str) -> LabelledPassage:
    text = str(values["text"])
    answers = _spans(values.get("answer_spans", ()), text)
    evidence = _spans(values.get("evidence", ()), text)
    return LabelledPassage(
        id=str(values["id"]),
        title=str(values.get("title") or ""),
        text=text,
        gold=bool(values["gold"]),
        answers=answers,
        # Sentences that follow from the answers are found by our own splitting instead.
        evidence=() if kind == ANSWER_SENTENCE and answers else evidence,
    )


def _spans(values: Iterable[Any], text: str) -> tuple[Span, ...]:
    spans = tuple((int(start), int(end)) for start, end in values)
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"span [{start}, {end}) is not inside its text of {len(text)}")
    return spans
