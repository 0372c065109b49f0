"""Rows of published data sets as records: those with the columns of SQuAD and of HotpotQA.

SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250; with unanswerable questions 2018,
arXiv:1806.03822) has one context a question; distractors are other contexts of the same data set.
HotpotQA (Yang et al. 2018, arXiv:1809.09600) brings its own distractors, and evidence chosen by
people.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ragib.compressor.training.loop import Progress
from ragib.compressor.training.negatives import Negatives
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.errors import InputError
from ragib.text import Span

SQUAD = ("id", "question", "context", "answers")
HOTPOT = ("id", "question", "answer", "supporting_facts", "context")

Row = Mapping[str, Any]

_REPORT_EVERY = 1000


def records_of(
    rows: Iterable[Row], columns: Collection[str], source: str, progress: Progress | None = None
) -> list[Record]:
    """Turn the rows of a data set into records.

    Parameters
    ----------
    rows
        As the `datasets` package gives them: columns by name, with lists and mappings inside.
    columns
        The names of all columns; they say which of the known forms the rows have.
    source
        What the records are said to come from.
    progress
        Called with "distractors", questions done, questions in all.

    Raises
    ------
    InputError
        The columns are of no known form, or a row cannot be used; the message names it.
    """
    if set(HOTPOT) <= set(columns):
        return [_placed(hotpot_record, source, number, row) for number, row in enumerate(rows)]
    if set(SQUAD) <= set(columns):
        return _with_distractors(rows, source, progress)
    raise InputError(
        f"{source}: has the columns {', '.join(sorted(columns))}; expected those of SQuAD "
        f"({', '.join(SQUAD)}) or of HotpotQA ({', '.join(HOTPOT)})"
    )


def squad_record(source: str, row: Row) -> Record:
    """Turn a row into a record of its one passage; unanswerable questions have no gold passage.

    Raises
    ------
    ValueError, KeyError, TypeError
        The row has another form, or an answer does not stand in its context.
    """
    text = _text(row, "context")
    answers = row["answers"]
    spans = [
        _find(text, str(answer), int(start))
        for answer, start in zip(answers["text"], answers["answer_start"], strict=True)
    ]
    title = str(row.get("title") or "").replace("_", " ")
    passage = _passage(title, text, answers=tuple(dict.fromkeys(spans)), gold=bool(spans))
    return Record(
        id=str(row["id"]),
        source=source,
        question=_text(row, "question"),
        answers=tuple(dict.fromkeys(text[start:end] for start, end in spans)),
        answerable=bool(spans),
        evidence_kind="answer-sentence" if spans else "none",
        passages=(passage,),
    )


def hotpot_record(source: str, row: Row) -> Record:
    """Turn a row into a record with all its paragraphs; those with supporting facts are gold.

    Raises
    ------
    ValueError, KeyError, TypeError
        The row has another form, or no supporting fact is among its sentences.
    """
    facts = row["supporting_facts"]
    wanted: dict[str, set[int]] = {}
    for title, number in zip(facts["title"], facts["sent_id"], strict=True):
        wanted.setdefault(str(title), set()).add(int(number))
    # A yes or a no stands nowhere in the text, so the answer counts as unknown.
    answer = _text(row, "answer")
    answers = () if answer.casefold() in ("yes", "no") else (answer,)
    passages: dict[str, LabelledPassage] = {}
    context = row["context"]
    for title, sentences in zip(context["title"], context["sentences"], strict=True):
        text = "".join(sentences)
        # The numbers of some facts lie beyond the last sentence; those say nothing.
        evidence = _chosen(sentences, wanted.get(str(title), set()))
        found = tuple(span for a in answers for span in _matches(text, a)) if evidence else ()
        passage = _passage(str(title), text, answers=found, gold=bool(evidence), evidence=evidence)
        passages[passage.id] = passage
    if not any(passage.gold for passage in passages.values()):
        raise ValueError("no supporting fact is among its sentences")
    return Record(
        id=str(row["id"]),
        source=source,
        question=_text(row, "question"),
        answers=answers,
        answerable=True,
        evidence_kind="human",
        passages=tuple(passages.values()),
    )


def _with_distractors(rows: Iterable[Row], source: str, progress: Progress | None) -> list[Record]:
    records = [_placed(squad_record, source, number, row) for number, row in enumerate(rows)]
    negatives = Negatives([record.passages[0] for record in records])
    made: list[Record] = []
    for number, record in enumerate(records, start=1):
        made.append(negatives.add_to(record))
        if progress is not None and (number % _REPORT_EVERY == 0 or number == len(records)):
            progress("distractors", number, len(records))
    return made


def _placed(convert: Any, source: str, number: int, row: Row) -> Record:  # noqa: ANN401
    try:
        record: Record = convert(source, row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{source}: row {number}: {reason}") from None
    return record


def _passage(
    title: str, text: str, *, answers: tuple[Span, ...], gold: bool, evidence: tuple[Span, ...] = ()
) -> LabelledPassage:
    name = hashlib.sha256(f"{title}\0{text}".encode()).hexdigest()[:14]
    return LabelledPassage(f"p{name}", title, text, gold, answers, evidence)


def _text(row: Row, key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} is empty or no text")
    return value


def _find(text: str, answer: str, start: int) -> Span:
    """Return where an answer stands: where the row says, else its first place."""
    if not answer.strip():
        raise ValueError("an answer is empty")
    if text[start : start + len(answer)] != answer or start < 0:
        start = text.find(answer)
    if start < 0:
        raise ValueError(f"the answer {answer!r} does not stand in its context")
    return start, start + len(answer)


def _chosen(sentences: Sequence[str], numbers: Collection[int]) -> tuple[Span, ...]:
    """Return the spans of the sentences with these numbers in the joined text, trimmed."""
    spans: list[Span] = []
    begin = 0
    for number, sentence in enumerate(sentences):
        if number in numbers and sentence.strip():
            lead = len(sentence) - len(sentence.lstrip())
            spans.append((begin + lead, begin + len(sentence.rstrip())))
        begin += len(sentence)
    return tuple(spans)


def _matches(text: str, answer: str) -> list[Span]:
    """Find an answer as whole words, whatever its case."""
    pattern = re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)", re.IGNORECASE)
    return [match.span() for match in pattern.finditer(text)]
