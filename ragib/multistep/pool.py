"""The passages found so far, and as much of their evidence as a budget has room for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import zip_longest

from ragib.compressor.selection import ScoredSentence, Sentence, select
from ragib.types import Compressed, Hit, Question


def fresh(lists: Sequence[Sequence[Hit]], known: Collection[str], most: int) -> list[Hit]:
    """Take the hits of several searches in turn, rank by rank, without those that are known.

    Parameters
    ----------
    lists
        Hits of each search, best first.
    known
        Ids of passages that are left out; so are repeats.
    most
        How many to take.
    """
    taken: dict[str, Hit] = {}
    for rank in zip_longest(*lists):
        for hit in rank:
            if hit is not None and hit.passage.id not in known and len(taken) < most:
                taken.setdefault(hit.passage.id, hit)
    return list(taken.values())


def within(
    question: Question,
    kept: Compressed,
    budget: int,
    count: Callable[[Sequence[str]], list[int]],
) -> Compressed:
    """Leave out the least of the evidence, by its score, until it fits a budget of tokens.

    What is left out is dropped with that reason; nothing changes where all of it fits. An evidence
    that does not fit is passed over and the next is tried.
    """
    sizes = count([piece.text for piece in kept.evidence])
    if sum(sizes) <= budget:
        return kept
    places = {passage.id: number for number, passage in enumerate(question.passages)}
    scored = [
        ScoredSentence(
            Sentence(places[piece.passage_id], piece.start, piece.end), piece.score, tokens
        )
        for piece, tokens in zip(kept.evidence, sizes, strict=True)
    ]
    fitting = select(question, scored, budget=max(1, budget), repeats=True)
    dropped = [*kept.dropped, *fitting.dropped]
    dropped.sort(key=lambda out: (places[out.passage_id], out.start))
    return replace(fitting, dropped=tuple(dropped))
