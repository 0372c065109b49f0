"""Data sets of a hub with the columns of FlashRAG or of SQuAD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ragib.corpus.hub import hub_rows
from ragib.corpus.records import clean
from ragib.errors import InputError
from ragib.eval.evalset import EvalQuery
from ragib.eval.lines import id_of, text_of, texts_of
from ragib.eval.qa import flashrag_queries
from ragib.types import Document


def read_hub(name: str, split: str) -> tuple[tuple[EvalQuery, ...], list[Document]]:
    """Read a data set of a hub; `name`, `split` and what is raised are those of `hub_rows`.

    Returns
    -------
    tuple[tuple[EvalQuery, ...], list[Document]]
        Its questions, and the documents it brings: the contexts of SQuAD, none of FlashRAG.

    Raises
    ------
    InputError
        Also if its rows cannot be used.
    """
    _, rows = hub_rows(name, split)
    placed = [(f"{name}: row {number}", row) for number, row in enumerate(rows)]
    columns = set(rows.column_names)
    if {"id", "question", "golden_answers"} <= columns:
        return tuple(flashrag_queries(placed)), []
    if {"id", "question", "context", "answers"} <= columns:
        return _squad(placed)
    raise InputError(
        f"{name}: has the columns {', '.join(sorted(columns))}; expected those of FlashRAG "
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
