"""Which passages the operators of a question leave: decided before the best are chosen.

A single word is looked up in the sparse index, where it has its stem; a phrase is looked for in
the text of those passages that hold all its terms, for the index does not know where terms stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from ragib.errors import InputError
from ragib.indexes.base import Mask
from ragib.indexes.snapshot import Snapshot
from ragib.indexes.sparse import SparseSearcher
from ragib.indexes.syntax import WORD, parse
from ragib.indexes.terms import terms
from ragib.text import batched

_READ_AT_ONCE = 1000


def operated(
    generation: Any,  # noqa: ANN401
    questions: Sequence[str],
    allowed: Mask | None,
) -> Iterator[tuple[list[str], Mask]]:
    """Give for every question the text that passages are ranked by, and those it may return.

    Raises
    ------
    InputError
        A question cannot be read (see `ragib.indexes.syntax.parse`), or the index does not know
        which words are in a passage.
    """
    if not isinstance(generation, Snapshot):
        raise InputError("syntax: operators need an index directory; this index is elsewhere")
    config = generation.manifest.config
    if "sparse" not in config.kinds or config.sparse.engine == "learned":
        raise InputError("syntax: operators need a sparse index of words, and this index has none")
    for question in questions:
        asked = parse(question)
        left = (generation.alive if allowed is None else allowed).copy()
        for piece in asked.required:
            left &= _holding(generation, piece, left)
        for piece in asked.excluded:
            left &= ~_holding(generation, piece, left)
        yield [asked.text], left


def _holding(snapshot: Snapshot, piece: str, among: Mask) -> Mask:
    """Flag the rows of `among` that hold a word or phrase."""
    config = snapshot.manifest.config.sparse
    searcher = cast(SparseSearcher, snapshot.searcher("sparse"))
    words, stems = WORD.findall(piece), terms(piece, config.language)
    flags = among.copy()
    for term in set(stems):
        held = np.zeros(len(flags), np.bool_)
        held[searcher.holding(term)] = True
        flags &= held
    if len(words) == len(stems) == 1:
        return flags
    inner = r"\W+".join(map(re.escape, words))
    phrase = re.compile(rf"(?<!\w){inner}(?!\w)", re.IGNORECASE)
    for rows in batched(np.flatnonzero(flags).tolist(), _READ_AT_ONCE):
        for row, passage in snapshot.rows(rows).items():
            title = passage.title if config.title_boost else ""
            flags[row] = bool(phrase.search(passage.text) or phrase.search(title))
    return flags
