"""Repeats: sentences that add nothing to one that is kept already.

Overlapping chunks bring the same sentence twice, and retrieved passages quote one another. A
sentence repeats a kept one if it stands inside it in the same document, or if both are made of the
same words and share at least `ALIKE` of their runs of three words (resemblance of shingles: Broder,
1997). Mere containment is not enough: "it was built in 1889" is no repeat of "it was not built in
1889", and one different name or number makes two sentences different.
"""

from __future__ import annotations

import re

from ragib.text import Span
from ragib.types import Passage

ALIKE = 0.8

_WORD = re.compile(r"\w+")
_RUN = 3
_BLOCK = 256  # characters: places are looked up by the blocks of the document they touch

Runs = frozenset[tuple[str, ...]]


class Kept:
    """The sentences kept so far, findable by their place and by their words."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        self._by_words: dict[frozenset[str], list[tuple[Runs, str]]] = {}

    def add(self, passage: Passage, start: int, end: int) -> None:
        """Take in a sentence of a passage, as kept."""
        name = f"{passage.id}:{start}-{end}"
        parts = _parts(passage.text[start:end])
        self._by_words.setdefault(frozenset(parts), []).append((_runs(parts), name))
        if place := _in_document(passage, start, end):
            for block in range(place[0] // _BLOCK, place[1] // _BLOCK + 1):
                self._places.setdefault((passage.doc_id, block), []).append((*place, name))

    def repeated_by(self, passage: Passage, start: int, end: int) -> str | None:
        """Return `passage:start-end` of the first kept sentence that this one repeats, if any."""
        if place := _in_document(passage, start, end):
            for first, last, name in self._places.get((passage.doc_id, place[0] // _BLOCK), ()):
                if first <= place[0] and place[1] <= last:
                    return name
        parts = _parts(passage.text[start:end])
        runs = _runs(parts)
        for known, name in self._by_words.get(frozenset(parts), ()):
            if len(runs & known) >= ALIKE * len(runs | known):
                return name
        return None


def _in_document(passage: Passage, start: int, end: int) -> Span | None:
    """Return the offsets in the document, if the passage says where in it it stands."""
    if passage.end - passage.start != len(passage.text):
        return None
    return passage.start + start, passage.start + end


def _parts(text: str) -> list[str]:
    """Lower-cased words; a text without any, such as a row of dashes, is taken by its pieces."""
    return _WORD.findall(text.casefold()) or text.split()


def _runs(parts: list[str]) -> Runs:
    length = min(_RUN, len(parts))
    return frozenset(tuple(parts[i : i + length]) for i in range(len(parts) - length + 1))
