"""Questions with passages and where the evidence stands, as they are read from a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

from ragib.corpus.opening import DAMAGED, damage, lines, opened
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
    try:
        with opened(path) as stream:
            for number, text, problem in lines(stream):
                if problem:
                    raise CorpusError(f"{path}:{number}: {problem}")
                if text.strip():
                    record = _at(path, number, text)
                    if not wanted or record.source in wanted:
                        yield record
    except DAMAGED as error:
        raise CorpusError(f"{path}: {damage(error)}") from None


def _at(path: Path, number: int, text: str) -> Record:
    try:
        return record_of(json.loads(text))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        kind = "lacks the key " if isinstance(error, KeyError) else "not a record: "
        raise CorpusError(f"{path}:{number}: {kind}{error}") from None


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
    if isinstance(values["answers"], str):
        raise ValueError("'answers' is one text; put it into a list")
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
    spans = tuple((index(start), index(end)) for start, end in values)
    for start, end in spans:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"span [{start}, {end}) is not inside its text of {len(text)}")
    return spans
