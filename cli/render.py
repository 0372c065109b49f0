"""How hits and answers look to a person."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from rich.text import Text

from ragib.cli.common import output, printable
from ragib.types import Answer, Hit, Step

SNIPPET = 240
"""Characters of a passage that are shown."""


def show_hits(hits: Sequence[Hit]) -> None:
    """Print hits, best first: rank, score, document and place, then how the passage begins."""
    out = output()
    if not hits:
        out.print("nothing found")
    for rank, hit in enumerate(hits, start=1):
        passage = hit.passage
        ranks = ", ".join(f"{kind} {place}" for kind, place in hit.ranks.items())
        title = printable(passage.title)
        out.print(
            Text.assemble(
                f"{rank:>3}  {hit.score:.4f}  ",
                (f"{printable(passage.doc_id)}:{passage.start}-{passage.end}", "bold"),
                f"  {title}" if title and title != passage.doc_id else "",
                (f"  [{ranks}]" if ranks else "", "dim"),
            )
        )
        out.print(Text(f"     {shorten(printable(passage.text), SNIPPET, placeholder=' …')}"))


def show_answer(answer: Answer) -> None:
    """Print an answer with its citations, the evidence it was made from, and what it cost."""
    out = output()
    out.print(Text.assemble(("question  ", "dim"), printable(answer.question)))
    text = printable(answer.text) if answer.text else "no answer in the passages found"
    out.print(Text.assemble(("answer    ", "dim"), (text, "bold" if answer.text else "yellow")))
    for number, step in enumerate(answer.steps, start=1):
        out.print(Text.assemble((f"step {number:<5}", "dim"), _told(step)))
    for citation in answer.citations:
        place = f"{printable(citation.doc_id)}:{citation.start}-{citation.end}"
        quoted = shorten(printable(citation.text), SNIPPET, placeholder=" …")
        out.print(Text.assemble(("cites     ", "dim"), (place, "cyan"), f"  “{quoted}”"))
    titles = {hit.passage.id: hit.passage.doc_id for hit in answer.hits}
    for evidence in answer.evidence:
        source = printable(titles.get(evidence.passage_id, evidence.passage_id))
        kept = shorten(printable(evidence.text), SNIPPET, placeholder=" …")
        out.print(Text.assemble(("kept      ", "dim"), (source, "cyan"), f"  {kept}"))
    for flag in answer.flags:
        out.print(Text(f"note      {printable(flag)}", style="yellow"))
    words_in, words_kept = answer.usage["words_in"], answer.usage["words_kept"]
    share = f"{words_kept / words_in:.0%}" if words_in else "nothing"
    out.print(Text(f"words     {words_in} found, {words_kept} kept ({share})", style="dim"))
    stages = ", ".join(f"{stage} {1000 * s:.0f} ms" for stage, s in answer.timings.items())
    out.print(Text(f"time      {stages}", style="dim"))


def _told(step: Step) -> str:
    """Tell a step in a line: what was searched for, what came of it, and why it was the last."""
    queries = " | ".join(map(printable, step.queries))
    parts = [
        shorten(queries, SNIPPET, placeholder=" …"),
        f"{len(step.hits)} new passage{'' if len(step.hits) == 1 else 's'}",
        f"“{printable(step.answer)}”" if step.answer else "no answer yet",
        *([] if step.gain is None else [f"gain {step.gain:.2f} nats"]),
        f"{step.tokens} tokens",
        *([printable(step.stopped)] if step.stopped else []),
    ]
    return "; ".join(parts)
