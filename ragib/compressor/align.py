"""Where a generated sentence comes from: the span of a passage that it repeats, or none.

A sentence that stands in a passage, but for case and white space, is that span. Any other is the
whole sentences of the passage that hold the longest run of words it has in common with one, if the
run has enough of its words: a model that leaves out a "not" is shown to have read the "not".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ragib.compressor.selection import sentence_spans
from ragib.text import Span, strip_span

LEAST_SHARE = 0.6
"""Share of the words of a sentence that must stand in one run, unless it is found as it is."""
LEAST_WORDS = 3

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a sentence comes from: the position of the passage, and offsets in it.

    `share` is that of the sentence's words which stand there in one run; 1 if all of it does.
    """

    passage: int
    start: int
    end: int
    share: float


def align(
    written: Sequence[str], passages: Sequence[str], least_share: float = LEAST_SHARE
) -> list[Source | None]:
    """Find the source of every sentence.

    Parameters
    ----------
    written
        The sentences.
    passages
        What they may come from.
    least_share
        The lowest share of a sentence's words, in (0, 1], that a run must hold.

    Returns
    -------
    list
        One source a sentence, in their order: the first passage that holds it as it is, else that
        with the longest run; `None` where there is none. Spans are never empty and neither begin
        nor end with white space.
    """
    folded = [_Folded(passage) for passage in passages]
    words = [[m.group() for m in _WORD.finditer(one.text)] for one in folded]
    found: list[Source | None] = []
    for sentence in written:
        source = _exact(sentence, folded)
        found.append(source or _fuzzy(sentence, folded, words, least_share))
    return found


class _Folded:
    """A text without case and needless white space; every character knows where it comes from."""

    def __init__(self, text: str) -> None:
        self.source = text
        signs: list[str] = []
        self._from: list[int] = []
        for place, sign in enumerate(text):
            if sign.isspace():
                if signs and signs[-1] != " ":
                    signs.append(" ")
                    self._from.append(place)
                continue
            for part in sign.casefold():
                signs.append(part)
                self._from.append(place)
        self.text = "".join(signs)

    def span(self, start: int, end: int) -> Span:
        """Return the place of folded characters in the text itself."""
        return strip_span(self.source, self._from[start], self._from[end - 1] + 1)


def _exact(sentence: str, passages: Sequence[_Folded]) -> Source | None:
    wanted = _Folded(sentence).text.strip()
    if not wanted:
        return None
    for number, passage in enumerate(passages):
        place = passage.text.find(wanted)
        while place >= 0:
            if _whole_words(passage.text, place, place + len(wanted)):
                return Source(number, *passage.span(place, place + len(wanted)), 1.0)
            place = passage.text.find(wanted, place + 1)
    return None


def _whole_words(text: str, start: int, end: int) -> bool:
    """Say whether a range neither begins nor ends inside a word."""
    return not any(
        0 < edge < len(text) and _WORD.fullmatch(text[edge - 1 : edge + 1]) for edge in (start, end)
    )


def _fuzzy(
    sentence: str, passages: Sequence[_Folded], words: Sequence[Sequence[str]], least_share: float
) -> Source | None:
    wanted = _WORD.findall(_Folded(sentence).text)
    best: tuple[int, int, int] | None = None
    longest = LEAST_WORDS - 1
    for number, known in enumerate(words):
        run = SequenceMatcher(None, known, wanted, autojunk=False).find_longest_match()
        if run.size > longest:
            best, longest = (number, run.a, run.a + run.size), run.size
    if best is None or longest < least_share * len(wanted):
        return None
    number, first, last = best
    places = [match.span() for match in _WORD.finditer(passages[number].text)]
    start, end = passages[number].span(places[first][0], places[last - 1][1])
    around = [(s, e) for s, e in sentence_spans(passages[number].source) if s < end and e > start]
    begin, finish = min(s for s, _ in around), max(e for _, e in around)
    return Source(number, begin, finish, longest / len(wanted))
