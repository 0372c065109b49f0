"""Sentences, words and normal forms of text; all offsets are Python string offsets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sentencex import get_sentence_boundaries

T = TypeVar("T")

Span = tuple[int, int]
"""A half-open range of string offsets."""

_WORD = re.compile(r"\S+")
_SPACE = re.compile(r"\s+")
# sentencex 1.0 panics at an initial next to white space of more than one byte ("John\u00a0F."), and
# lone surrogates cannot be handed over at all. One character stands in for one, so offsets stay.
_UNSPLITTABLE = re.compile(
    r"[\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ud800-\udfff]"
)


def strip_span(text: str, start: int, end: int) -> Span:
    """Shrink a span until it neither begins nor ends with white space (it may become empty)."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def sentences(text: str, language: str = "en") -> list[Span]:
    """Split a text into sentences.

    Line breaks that leave a blank line always end one. Spans are stripped of white space, never
    empty, never overlap and come in the order of the text; all that is not white space is in one.

    Parameters
    ----------
    text
        Any text.
    language
        A two-letter language code, for its abbreviations.
    """
    spans: list[Span] = []
    for boundary in get_sentence_boundaries(language, _UNSPLITTABLE.sub(" ", text)):
        start, end = strip_span(text, boundary["start_index"], boundary["end_index"])
        # A full stop without space behind it stands inside a name ("tempfile.TemporaryFile") far
        # more often than it ends a sentence.
        if spans and spans[-1][1] == start and text[start - 1] == ".":
            spans[-1] = (spans[-1][0], end)
        elif start < end:
            spans.append((start, end))
    return spans


def words(text: str) -> list[Span]:
    """Return the spans of the whitespace-separated words of a text."""
    return [match.span() for match in _WORD.finditer(text)]


def count_words(text: str) -> int:
    """Count the whitespace-separated words of a text."""
    return len(text.split())


def one_line(text: str) -> str:
    """Put a text on one line: every run of white space becomes one space."""
    return _SPACE.sub(" ", text).strip()


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of `size` items; the last one may be shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
