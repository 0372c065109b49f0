"""Citations: read the markers a model wrote, and check each against its source.

A marker is `[1]`, `[2, 3]` or `[1: "exact words"]`. Markers are taken out of the answer while it
streams, so the pieces a user sees join to the same text that a batch returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ragib.generators.base import Generation, Quote
from ragib.generators.prompt import NO_ANSWER
from ragib.types import Citation, Evidence, Passage

UNVERIFIED = "unverified-citation"

_LIST = r"\[\s{0,9}\d{1,3}(?:\s{0,9},\s{0,9}\d{1,3}){0,30}\s{0,9}"
_MARKER = rf'(?P<list>{_LIST})(?::\s{{0,9}}["“](?P<quote>.{{1,2000}}?)["”]\s{{0,9}})?\]'
# Whatever may still grow into a marker; it matches too much rather than too little.
_OPEN = rf'(?P<open>(?:\[[\s\d,]{{0,800}}|{_LIST}:\s{{0,9}}(?:["“].{{0,2020}})?)\Z)'
_COMPLETE = re.compile(_MARKER, re.DOTALL)
_GROWING = re.compile(f"{_MARKER}|{_OPEN}", re.DOTALL)
_QUOTATION_MARKS = ('["\u201c\u201d]', "['\u2018\u2019]")
_NUMBER = re.compile(r"\d+")
_REFUSAL = NO_ANSWER.casefold().rstrip(".")


class MarkerParser:
    """Turns generated text, piece by piece, into the text to show and the quotes it makes."""

    def __init__(self) -> None:
        self._raw = ""
        self._held = ""
        self._text = ""
        self._quotes: list[Quote] = []

    def feed(self, piece: str) -> str:
        """Take a piece of generated text; return what can be shown of it by now."""
        self._raw += piece
        return self._read(_GROWING)

    def finish(self, usage: Mapping[str, int] | None = None) -> tuple[str, Generation]:
        """Return the last piece to show, and the generation as a whole."""
        last = self._read(_COMPLETE)
        abstained = _refuses(self._text or self._held)
        if not self._text and not abstained:
            self._text = self._held.strip()
            last = self._text
        quotes = () if abstained else tuple(dict.fromkeys(self._quotes))
        return last, Generation(self._text, quotes, abstained, dict(usage or {}))

    def _read(self, pattern: re.Pattern[str]) -> str:
        shown, start = "", 0
        for found in pattern.finditer(self._raw):
            shown += self._emit(self._raw[start : found.start()])
            start = found.start()
            if found.lastgroup == "open":
                break
            start = found.end()
            self._held = self._held.rstrip()
            self._quotes += _quotes(found)
        else:
            shown += self._emit(self._raw[start:])
            start = len(self._raw)
        self._raw = self._raw[start:]
        return shown

    def _emit(self, text: str) -> str:
        """Let text through, but for white space at either end and a refusal."""
        self._held += text
        if not self._text:
            self._held = self._held.lstrip()
            if _may_refuse(self._held):
                return ""
        shown = self._held.rstrip()
        self._held = self._held[len(shown) :]
        self._text += shown
        return shown


def parse(text: str, usage: Mapping[str, int] | None = None) -> Generation:
    """Read a generated text at once.

    An empty text, or one that begins with the agreed refusal, means that the model abstained.
    """
    parser = MarkerParser()
    parser.feed(text)
    return parser.finish(usage)[1]


def verify(
    generation: Generation, evidence: Sequence[Evidence], passages: Mapping[str, Passage]
) -> tuple[tuple[Citation, ...], tuple[str, ...]]:
    """Turn the quotes that are verbatim in their source into citations.

    Parameters
    ----------
    generation
        An answer with unchecked quotes.
    evidence
        What it was generated from, in the order of the numbers it uses.
    passages
        The passages of the evidence, by id.

    Returns
    -------
    citations, flags
        `citations` without repeats, in the order of the quotes; for each,
        `passage.text[start - passage.start : end - passage.start] == text`. A quote narrows the
        citation to its words; white space and the shape of quotation marks may differ, the text
        of the citation is the source's. `flags` is `("unverified-citation",)` if any quote names
        evidence that does not exist or words that do not stand there, else empty.
    """
    found = [_locate(quote, evidence, passages) for quote in generation.quotes]
    citations = tuple(dict.fromkeys(citation for citation in found if citation is not None))
    return citations, (UNVERIFIED,) if None in found else ()


def _locate(
    quote: Quote, evidence: Sequence[Evidence], passages: Mapping[str, Passage]
) -> Citation | None:
    if not 0 <= quote.evidence < len(evidence):
        return None
    piece = evidence[quote.evidence]
    passage = passages.get(piece.passage_id)
    if passage is None or passage.text[piece.start : piece.end] != piece.text or not piece.text:
        return None
    start, end = piece.start, piece.end
    if quote.text.strip():
        match = _loosely(quote.text).search(piece.text)
        if match is None:
            return None
        start, end = piece.start + match.start(), piece.start + match.end()
    text = passage.text[start:end]
    return Citation(passage.doc_id, passage.id, passage.start + start, passage.start + end, text)


def _loosely(quote: str) -> re.Pattern[str]:
    pattern = r"\s+".join(re.escape(word) for word in quote.split())
    for marks in _QUOTATION_MARKS:
        pattern = re.sub(marks, marks, pattern)
    return re.compile(pattern)


def _quotes(marker: re.Match[str]) -> list[Quote]:
    text = (marker["quote"] or "").strip()
    return [Quote(int(number[0]) - 1, text) for number in _NUMBER.finditer(marker["list"])]


def _may_refuse(text: str) -> bool:
    folded = text.casefold()
    return _REFUSAL.startswith(folded) or folded.startswith(_REFUSAL)


def _refuses(text: str) -> bool:
    folded = text.casefold().strip()
    return not folded or folded.startswith(_REFUSAL)
