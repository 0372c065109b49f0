"""Cut documents into passages of whole sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ragib.config import ChunkConfig
from ragib.text import Span, sentences, strip_span
from ragib.types import Document, Passage

CountTokens = Callable[[Sequence[str]], list[int]]

_TOKEN = re.compile(r"\w+|[^\w\s]")

# Word pieces make one unknown token of a word of any length: text this dense is cut nevertheless.
_MAX_CHARS_A_TOKEN = 32

_LINE_BREAK = re.compile("\n")
_GAP = re.compile(r"\s")
_JOINERS = {"\u200d", "\ufe0e", "\ufe0f"}


class _Unit(NamedTuple):
    start: int
    end: int
    tokens: int


def word_tokens(texts: Sequence[str]) -> list[int]:
    """Count words and punctuation marks: the tokens of each text where there is no encoder."""
    return [len(_TOKEN.findall(text)) for text in texts]


def chunk(document: Document, config: ChunkConfig, count_tokens: CountTokens) -> list[Passage]:
    """Cut a document into passages.

    Whole sentences are packed up to `config.max_tokens`, counted sentence by sentence; each
    passage begins with the last sentences of the one before it, up to `config.overlap_tokens`. A
    sentence over the budget is halved until its parts are not: at the line break, else the white
    space, else the character nearest its middle. Passages are verbatim, their ids are
    `{document.id}#{n}` from 0, their starts increase, and every character of the document that is
    not white space is in at least one. A text of white space only has none.

    Parameters
    ----------
    document
        What to cut; its title, metadata and access are those of every passage.
    config
        Budgets in tokens, and the language of the sentences.
    count_tokens
        Counts the tokens of each text; called once for all sentences, and once more for each
        halving of those over the budget.
    """
    text = document.text
    units = _units(text, sentences(text, config.language), config.max_tokens, count_tokens)
    return [
        Passage(
            id=f"{document.id}#{number}",
            doc_id=document.id,
            text=text[start:end],
            title=document.title,
            start=start,
            end=end,
            metadata=document.metadata,
            access=document.access,
        )
        for number, (start, end) in enumerate(_pack(units, config))
    ]


def _pack(units: Sequence[_Unit], config: ChunkConfig) -> list[Span]:
    spans: list[Span] = []
    first = fresh = 0
    while fresh < len(units):
        tokens = sum(unit.tokens for unit in units[first:fresh])
        while first < fresh and tokens + units[fresh].tokens > config.max_tokens:
            tokens -= units[first].tokens
            first += 1
        end = fresh
        while end < len(units) and (
            end == fresh or tokens + units[end].tokens <= config.max_tokens
        ):
            tokens += units[end].tokens
            end += 1
        spans.append((units[first].start, units[end - 1].end))
        overlap = 0
        previous, first, fresh = first, end, end
        while first - 1 > previous and overlap + units[first - 1].tokens <= config.overlap_tokens:
            first -= 1
            overlap += units[first].tokens
    return spans


def _units(text: str, spans: Sequence[Span], budget: int, count_tokens: CountTokens) -> list[_Unit]:
    """Count the tokens of spans, halving those over the budget until none is, in order."""
    counts = count_tokens([text[start:end] for start, end in spans]) if spans else []
    units: list[_Unit] = []
    for (start, end), counted in zip(spans, counts, strict=True):
        tokens = max(counted, -(-(end - start) // _MAX_CHARS_A_TOKEN))
        units.append(_Unit(start, end, tokens))
    over = [unit for unit in units if unit.tokens > budget and unit.end - unit.start > 1]
    if not over:
        return units
    halves = [half for unit in over for half in _halves(text, unit.start, unit.end)]
    parts = _units(text, halves, budget, count_tokens)
    fitting = set(over)
    return sorted([*(unit for unit in units if unit not in fitting), *parts])


def _halves(text: str, start: int, end: int) -> list[Span]:
    middle = (start + end) // 2
    quarter = (end - start) // 4
    gaps = [gap.start() for gap in _LINE_BREAK.finditer(text, middle - quarter, middle + quarter)]
    gaps = gaps or [gap.start() for gap in _GAP.finditer(text, start, end)]
    cut = min(gaps, key=lambda gap: abs(gap - middle)) if gaps else _between(text, middle, end)
    return [strip_span(text, start, cut), strip_span(text, cut, end)]


def _between(text: str, at: int, end: int) -> int:
    """Move on to where the text can be cut without parting a letter from its marks."""
    while at < end - 1 and (unicodedata.combining(text[at]) or {text[at - 1], text[at]} & _JOINERS):
        at += 1
    return at
