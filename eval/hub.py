"""Data sets of a hub, by name, through the `datasets` package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ragib.corpus.records import clean
from ragib.errors import InputError
from ragib.eval.evalset import EvalQuery
from ragib.eval.lines import id_of, text_of, texts_of
from ragib.eval.qa import flashrag_queries
from ragib.extras import refuse_offline, require
from ragib.text import one_line
from ragib.types import Document

HUB = "hub:"
"""What the name of a hub data set begins with."""

_NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?")


def read_hub(name: str, split: str) -> tuple[tuple[EvalQuery, ...], list[Document]]:
    """Read a data set of a hub with the columns of FlashRAG or of SQuAD.

    Parameters
    ----------
    name
        `OWNER/NAME`, or `OWNER/NAME/CONFIG`.
    split
        Such as `test` or `validation`.

    Returns
    -------
    tuple[tuple[EvalQuery, ...], list[Document]]
        Its questions, and the documents it brings: the contexts of SQuAD, none of FlashRAG.

    Raises
    ------
    OfflineError
        The network is switched off.
    MissingExtraError
        `datasets` is not installed.
    InputError
        There is no such data set or split, or its rows cannot be used.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{HUB}{name}: expected {HUB}OWNER/NAME or {HUB}OWNER/NAME/CONFIG")
    refuse_offline(f"fetching the data set {name}")
    datasets = require("datasets", "reading a data set of a hub")
    failures = (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError)
    try:
        rows = datasets.load_dataset(match["name"], match["config"], split=split)
    except failures as error:
        raise InputError(f"{HUB}{name}, split {split}: {one_line(str(error))}") from None
    placed = [(f"{HUB}{name}: row {number}", row) for number, row in enumerate(rows)]
    columns = set(rows.column_names)
    if {"id", "question", "golden_answers"} <= columns:
        return tuple(flashrag_queries(placed)), []
    if {"id", "question", "context", "answers"} <= columns:
        return _squad(placed)
    raise InputError(
        f"{HUB}{name}: has the columns {', '.join(sorted(columns))}; expected those of FlashRAG "
        "(id, question, golden_answers) or of SQuAD (id, question, context, answers)"
    )


def _squad(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[EvalQuery, ...], list[Document]]:
    ids: dict[str, str] = {}
    documents: list[Document] = []
    queries: dict[str, EvalQuery] = {}
    for where, row in rows:
        text, title = text_of(where, row, "context"), str(row.get("title") or "")
        if text not in ids:
            ids[text] = f"context-{len(ids)}"
            documents.append(Document(ids[text], clean(text), clean(title)))
        name = id_of(where, row, "id")
        if name in queries:
            raise InputError(f"{where}: query id {name!r} occurs twice")
        inner = row["answers"]
        nested = isinstance(inner, Mapping)
        answers = texts_of(where, inner, "text") if nested else texts_of(where, row, "answers")
        queries[name] = EvalQuery(
            id=name,
            text=text_of(where, row, "question"),
            answers=answers,
            answerable=bool(answers),
            judged={ids[text]: 1} if answers else {},
            cluster=title or ids[text],
        )
    return tuple(queries.values()), documents
