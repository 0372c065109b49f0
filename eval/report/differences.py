"""What the browser of differences shows: queries, answers and passages, as one JSON value.

Offsets count UTF-16 units there, as JavaScript does. A run may hold far more than a page should:
the queries on which the pipelines differ most come first, until a number or a size is reached.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ragib.eval.report.axis import usable
from ragib.eval.report.html import clean
from ragib.eval.report.reading import RunData
from ragib.eval.results import QueryResult
from ragib.types import Passage

MOST_QUERIES = 300
MOST_BYTES = 3_500_000
"""Of the JSON value; the page around it is some hundred KB."""
MOST_LETTERS = 6000
"""Of a passage; any other text is cut at a quarter of that."""
MOST_ANSWERS = 10


def differences(run: RunData, measure: str | None, best: int) -> dict[str, Any]:
    """Collect what is shown.

    Parameters
    ----------
    run
        Where it is taken from.
    measure
        Scores the rows, if there is one.
    best
        The pipeline that is set beside the first at the beginning.

    Returns
    -------
    dict
        `measure`; `pipelines`, their names; `best`, the number of the one that is set beside the
        first; `total`, the queries of the run; `passages`, each
        `[title, document, text, letters left out]`; `queries`, each with `id`, `q` (question),
        `right` (answers), `answerable`, and `by`: one entry a pipeline, `null` where it has no
        row, else `a` (answer), `s` (score), `x` (error), `n` (abstained), `k` (stages from the
        cache), `h` (hits, as numbers of passages) and `e` (evidence: number of the passage, start,
        end).
    """
    ids = list(dict.fromkeys(id for rows in run.rows for id in rows))
    ids.sort(key=lambda id: -_difference([rows.get(id) for rows in run.rows], measure))
    passages: dict[str, int] = {}
    shown: list[list[Any]] = []
    queries: list[dict[str, Any]] = []
    size = 0
    for id in ids[:MOST_QUERIES]:
        before = len(shown)
        query = _query([rows.get(id) for rows in run.rows], measure, run.passages, passages, shown)
        size += sum(len(json.dumps(value)) + 1 for value in [query, *shown[before:]])
        if queries and size > MOST_BYTES:
            del shown[before:]
            break
        queries.append(query)
    return {
        "measure": measure,
        "pipelines": [clean(pipeline.name) for pipeline in run.results.pipelines],
        "best": best,
        "total": len(ids),
        "passages": shown,
        "queries": queries,
    }


def utf16(text: str, offset: int) -> int:
    """Return where the letter at `offset` lies, or the end, if letters past U+FFFF count as two."""
    if text.isascii():
        return min(offset, len(text))
    return len(text[:offset].encode("utf-16-le", "surrogatepass")) // 2


def _difference(rows: Sequence[QueryResult | None], measure: str | None) -> float:
    """Say how far pipelines lie apart on a query; other answers count, but less than any score."""
    there = [row for row in rows if row is not None]
    scores = [_score(row, measure) or 0.0 for row in there]
    answers = {row.answer for row in there} | {row.error for row in there}
    return max(scores) - min(scores) + 1e-6 * len(answers)


def _score(row: QueryResult, measure: str | None) -> float | None:
    score = None if measure is None else row.measures.get(measure)
    return score if usable(score) else None


def _query(
    rows: Sequence[QueryResult | None],
    measure: str | None,
    passages: Mapping[str, Passage],
    numbers: dict[str, int],
    shown: list[list[Any]],
) -> dict[str, Any]:
    """Describe a query, and put passages that were not shown before into `numbers` and `shown`."""
    some = next(row for row in rows if row is not None)

    def number(id: str) -> int:
        if id not in numbers:
            numbers[id] = len(shown)
            shown.append(_passage(id, passages.get(id)))
        return numbers[id]

    by: list[dict[str, Any] | None] = []
    for row in rows:
        if row is None:
            by.append(None)
            continue
        entry: dict[str, Any] = {"a": _cut(row.answer), "h": [number(id) for id, _ in row.hits]}
        score = _score(row, measure)
        if score is not None:
            entry["s"] = round(score, 4)
        if row.error is not None:
            entry["x"] = _cut(row.error)
        if row.abstained:
            entry["n"] = 1
        if row.cached:
            entry["k"] = [_cut(stage) for stage in row.cached]
        spans = []
        for id, start, end, _ in row.evidence:
            text = shown[number(id)][2]
            spans.append([number(id), utf16(text, start), utf16(text, end)])
        entry["e"] = spans
        by.append(entry)
    return {
        "id": clean(some.id),
        "q": _cut(some.question),
        "right": [_cut(answer) for answer in some.answers[:MOST_ANSWERS]],
        "answerable": some.answerable,
        "by": by,
    }


def _passage(id: str, passage: Passage | None) -> list[Any]:
    if passage is None:
        return ["", clean(id), "", None]
    text = clean(passage.text)
    cut = max(0, len(text) - MOST_LETTERS)
    return [_cut(passage.title), clean(passage.doc_id), text[:MOST_LETTERS], cut]


def _cut(text: str) -> str:
    most = MOST_LETTERS // 4
    return clean(text if len(text) <= most else f"{text[:most]} …")
