"""Whether citations stand where they say, and whether they hold the answer."""

from __future__ import annotations

from ragib.eval.containment import has_answer_dpr
from ragib.eval.outcome import Outcome
from ragib.generators.citations import UNVERIFIED


def citation_validity(outcome: Outcome) -> float | None:
    """Return the share of an answer's citations that are verbatim in their document.

    A citation is verbatim if the document, as it was read, holds its text at its offsets. The
    pipeline takes out what a generator cites and the source does not hold; an answer of which it
    took something out counts one invalid citation more. `None` if nothing was cited.
    """
    answer = outcome.answer
    if answer is None:
        return 0.0
    valid = [
        outcome.texts.get(c.doc_id, "")[c.start : c.end] == c.text and bool(c.text)
        for c in answer.citations
    ]
    if UNVERIFIED in answer.flags:
        valid.append(False)
    return sum(valid) / len(valid) if valid else None


def citation_support(outcome: Outcome) -> float:
    """Return 1 if a citation of the answer holds a right answer (`has-answer/dpr`), else 0."""
    if outcome.answer is None:
        return 0.0
    cited = (citation.text for citation in outcome.answer.citations)
    return float(any(has_answer_dpr(text, outcome.query.answers) for text in cited))
