"""Questions with answers: QA records, which bring their passages, and FlashRAG questions.

FlashRAG: Jin et al. 2024, https://arxiv.org/abs/2405.13576.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragib.compressor.training.records import LabelledPassage, Record, record_of
from ragib.corpus.records import clean
from ragib.errors import InputError
from ragib.eval.evalset import EvalQuery
from ragib.eval.lines import id_of, json_lines, kind, text_of, texts_of
from ragib.types import Document


def read_qa(path: Path) -> tuple[list[EvalQuery], list[str]]:
    """Read QA records: JSON lines of `id, question, answers, answerable, passages`.

    A question whose record says `"answerable": false` is one that no answer is right for, even
    where answers are listed: they do not stand in its passages. If no record lists any, nothing
    is known about answers. Gold passages are judged relevant with grade 1, and the cluster is the
    document they are from.

    Returns
    -------
    tuple[list[EvalQuery], list[str]]
        The questions, and notes on them.

    Raises
    ------
    InputError
        A record cannot be used, or an id occurs twice; the message names file and line.
    """
    queries: dict[str, EvalQuery] = {}
    texts: dict[str, int] = {}
    beyond = 0
    for where, record in _records(path):
        _refuse_twice(where, record.id, queries)
        for passage in record.passages:
            if texts.setdefault(passage.id, hash(passage.text)) != hash(passage.text):
                raise InputError(f"{where}: passage id {passage.id!r} is that of another text")
        answers = record.answers if record.answerable else ()
        beyond += bool(record.answers) and not record.answerable
        queries[record.id] = EvalQuery(
            id=record.id,
            text=clean(record.question),
            answers=answers,
            answerable=None if record.answerable and not answers else record.answerable,
            judged={p.id: 1 for p in record.passages if p.gold},
            cluster=_about(record.passages),
            record=record,
        )
    notes = [
        f"{beyond} questions have answers that none of their passages holds: they count as "
        "unanswerable"
    ]
    if not any(query.answers for query in queries.values()):
        return [replace(query, answerable=None) for query in queries.values()], []
    return list(queries.values()), notes if beyond else []


def qa_documents(path: Path) -> Iterator[Document]:
    """Read the passages of QA records, each once, as documents; those without a text are not."""
    seen = set()
    for _, record in _records(path):
        for passage in record.passages:
            if passage.id not in seen and passage.text.strip():
                seen.add(passage.id)
                yield Document(passage.id, clean(passage.text), clean(passage.title))


def flashrag_queries(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[EvalQuery]:
    """Make queries of FlashRAG rows `id, question, golden_answers`, each with its place.

    A question with an empty list of answers is one that no answer is right for.

    Raises
    ------
    InputError
        A row cannot be used, or an id occurs twice; the message names its place.
    """
    queries: dict[str, EvalQuery] = {}
    for where, row in rows:
        name = id_of(where, row, "id")
        _refuse_twice(where, name, queries)
        answers = texts_of(where, row, "golden_answers")
        text = text_of(where, row, "question")
        queries[name] = EvalQuery(name, text, answers, answerable=bool(answers))
    return list(queries.values())


def _records(path: Path) -> Iterator[tuple[str, Record]]:
    """Read records with their places; what would be read as something else is refused."""
    for where, values in json_lines(path):
        _check(where, values)
        try:
            yield where, record_of(values)
        except (ValueError, TypeError) as error:
            raise InputError(f"{where}: not a record: {error}") from None


def _check(where: str, values: Mapping[str, Any]) -> None:
    id_of(where, values, "id")
    text_of(where, values, "question")
    texts_of(where, values, "answers")
    _is(where, values, "answerable", bool, default=True)
    passages: list[Any] = _is(where, values, "passages", list)
    if not passages:
        raise InputError(f"{where}: 'passages' is empty")
    for number, passage in enumerate(passages, start=1):
        inside = f"{where}: passage {number}"
        if not isinstance(passage, dict):
            raise InputError(f"{inside} is {kind(passage)}, expected an object")
        id_of(inside, passage, "id")
        _is(inside, passage, "text", str)
        _is(inside, passage, "gold", bool)


def _is(
    where: str,
    values: Mapping[str, Any],
    key: str,
    type_: type,
    default: Any = None,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    value = values.get(key, default)
    if not isinstance(value, type_):
        expected = {bool: "true or false", list: "a list", str: "a text"}[type_]
        raise InputError(f"{where}: {key!r} is {kind(value)}, expected {expected}")
    return value


def _refuse_twice(where: str, name: str, queries: Mapping[str, EvalQuery]) -> None:
    if name in queries:
        raise InputError(f"{where}: query id {name!r} occurs twice")


def _about(passages: Iterable[LabelledPassage]) -> str:
    """Name the document a question is about: what its gold passage, else most passages are of."""
    passages = list(passages)
    gold = next((passage for passage in passages if passage.gold), None)
    if gold is not None:
        return gold.title or gold.id
    titles = Counter(passage.title for passage in passages if passage.title)
    return titles.most_common(1)[0][0] if titles else ""
