"""A question with what a pipeline made of it: all that a measure may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ragib.eval.evalset import EvalQuery
from ragib.text import Span
from ragib.types import Answer, Document


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query and its answer.

    Parameters
    ----------
    query
        What was asked, and what is right.
    answer
        What came of it; `None` if it failed.
    texts
        The documents that the answer cites, by id, as they were read (see `cited_texts`).
    bare
        What the generator answered with no passages at all; `None` if it was not asked.
    judged
        The verdicts of a judge, by measure; none without one.
    """

    query: EvalQuery
    answer: Answer | None
    texts: Mapping[str, str] = field(default_factory=dict)
    bare: str | None = None
    judged: Mapping[str, float] = field(default_factory=dict)

    @property
    def given(self) -> str:
        """The text of the answer; empty if it failed or abstained."""
        return "" if self.answer is None or self.answer.abstained else self.answer.text


def cited_texts(documents: Iterable[Document], answers: Iterable[Answer | None]) -> dict[str, str]:
    """Return the texts of the documents that answers cite, by id, in one pass over a corpus."""
    cited = {c.doc_id for answer in answers if answer is not None for c in answer.citations}
    return {document.id: document.text for document in documents if document.id in cited}


def kept_spans(answer: Answer) -> dict[str, list[Span]]:
    """Return where the kept evidence stands: document id -> spans in the document as read."""
    passages = {hit.passage.id: hit.passage for hit in answer.hits}
    spans: dict[str, list[Span]] = {}
    for evidence in answer.evidence:
        passage = passages[evidence.passage_id]
        span = (passage.start + evidence.start, passage.start + evidence.end)
        spans.setdefault(passage.doc_id, []).append(span)
    return spans
