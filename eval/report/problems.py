"""What went wrong in a run, from the most frequent reason to the single query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ragib.eval.report.html import Html, counted, join, tag
from ragib.eval.report.reading import RunData
from ragib.eval.results import PipelineResult

LISTED = 50
"""Errors that are listed a pipeline; the others are counted."""
REASONS = 5
"""Reasons that are named first."""


def problems(run: RunData) -> Html | None:
    """List what could not be read, and the queries that failed; `None` if all went well."""
    failed = [one for one in run.results.pipelines if one.errors]
    if not failed and not run.problems:
        return None
    unread = None
    if run.problems:
        said = tag("p", "These files of the run cannot be read, and are left out:")
        unread = join(said, tag("ul", [tag("li", text) for text in run.problems]))
    return join(unread, _failures(failed, len(run.results.pipelines)) if failed else None)


def _failures(failed: Sequence[PipelineResult], pipelines: int) -> Html:
    reasons = Counter(_reason(error) for one in failed for error in one.errors)
    said = (
        f"Failures count as wrong answers. There are {reasons.total():,}, in {len(failed):,} of "
        f"{counted(pipelines, 'pipeline', 'pipelines')}; most frequent first:"
    )
    named = [
        tag("li", tag("bdi", reason), f" ({number:,} times)" if number > 1 else None)
        for reason, number in reasons.most_common(REASONS)
    ]
    if len(reasons) > REASONS:
        named.append(tag("li", f"and {len(reasons) - REASONS:,} more"))
    lists = [_listed(one) for one in failed]
    every = tag("details", tag("summary", "Every failure, by pipeline"), lists, class_="failures")
    return join(tag("p", said), tag("ul", named), every)


def _listed(one: PipelineResult) -> Html:
    items = [tag("li", error, dir="auto") for error in one.errors[:LISTED]]
    if len(one.errors) > LISTED:
        items.append(tag("li", f"and {len(one.errors) - LISTED:,} more"))
    return join(tag("h3", tag("bdi", one.name), f": {len(one.errors):,}"), tag("ul", items))


def _reason(error: str) -> str:
    """Take the id of the query off `query id: reason`."""
    return error.partition(": ")[2] or error
