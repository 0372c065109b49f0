"""A set of questions to evaluate on, whatever format it was read from."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ragib.compressor.training.records import Record
from ragib.eval.datasets import Qrels
from ragib.types import Document

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvalQuery:
    """One question with what is known about it.

    `answerable` is true where `answers` holds the right answers, false where no answer is right,
    and `None` where the set does not say. `judged` are grades by document id (0 is judged not
    relevant; empty: nothing was judged). `cluster` names the document the question was written
    about, which several may share (empty: this question shares none). `record` has the
    question's own passages with their labels, in a set of QA records.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    answerable: bool | None = None
    judged: Mapping[str, int] = field(default_factory=dict)
    cluster: str = ""
    record: Record | None = None

    @property
    def gold(self) -> tuple[str, ...]:
        """The ids of the relevant documents."""
        return tuple(document for document, grade in self.judged.items() if grade > 0)


@dataclass(frozen=True, slots=True)
class EvalSet:
    """Questions, and the documents to answer them from.

    `source` reads the documents anew, one at a time; of QA records each passage is a document.
    `notes` say in a line each what the reader found amiss and passed over. `files` are the files
    all of it came from (none: a hub data set).
    """

    name: str
    queries: tuple[EvalQuery, ...]
    source: Callable[[], Iterator[Document]]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def documents(self) -> Iterator[Document]:
        """Read the documents anew."""
        return self.source()

    @property
    def qrels(self) -> Qrels:
        """The judgements, of those queries that have any."""
        return {query.id: query.judged for query in self.queries if query.judged}

    @property
    def clusters(self) -> dict[str, str]:
        """The cluster of every query, by id."""
        return {query.id: query.cluster for query in self.queries}


def draw(items: Sequence[T], limit: int | None) -> tuple[T, ...]:
    """Draw `limit` items with a fixed seed, in their order; all of them without a limit."""
    if limit is None or limit >= len(items):
        return tuple(items)
    return tuple(items[i] for i in sorted(random.Random(0).sample(range(len(items)), limit)))  # noqa: S311
