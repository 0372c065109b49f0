"""HTML as text: blocks parted by line breaks, without what is not read as running text."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ragib.corpus.opening import decoded, encoding_of
from ragib.text import one_line

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import PageElement

_DROPPED = re.compile(
    "script|style|noscript|template|title|nav|aside|footer|form|button|select|svg|canvas|object"
    "|iframe|audio|video"
)
_PARAGRAPHS = re.compile(
    "address|article|blockquote|body|details|dialog|div|dl|fieldset|figcaption|figure|h[1-6]"
    "|header|hr|html|main|ol|p|section|summary|table|ul"
)
_LINES = re.compile("br|caption|dd|dt|li|tr")
_CELLS = ("td", "th")

# Marks that stand for line breaks until white space is collapsed; no text may hold them.
_PARAGRAPH, _LINE, _KEPT_SPACE = "\x1e", "\x1f", "\x1d"
_MARKS = re.compile("[\x1d-\x1f]")
_BREAKS = re.compile("[ \x1e\x1f]*[\x1e\x1f][ \x1e\x1f]*")


def parse_html(data: bytes) -> tuple[str, str]:
    """Return the title and the text of a page.

    Paragraphs and other blocks are parted by a blank line, list items and table rows by a line
    break; white space is collapsed except in `pre`. The encoding is that of the byte order mark,
    else the one the page declares, else UTF-8.

    Raises
    ------
    ValueError
        A byte is wrong in that encoding.
    """
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on markup that looks like XML or a file name
        soup = BeautifulSoup(_MARKS.sub(" ", _decoded(data)), "html.parser")
    title = one_line(soup.title.get_text()) if soup.title else ""
    text = re.sub(" {2,}", " ", "".join(_pieces(soup)))
    text = _BREAKS.sub(lambda gap: "\n\n" if _PARAGRAPH in gap[0] else "\n", text)
    return title, text.replace(_KEPT_SPACE, " ").strip()


def _decoded(data: bytes) -> str:
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    if declared and not encoding_of(data)[0]:
        try:
            if codecs.lookup(declared).name not in ("utf-8", "ascii"):
                return data.decode(declared)
        except LookupError:
            raise ValueError(f"the page declares the unknown encoding {declared!r}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start} is not valid {declared}, as declared") from None
    return decoded(data)


def _pieces(page: BeautifulSoup) -> Iterator[str]:
    from bs4.element import CData, NavigableString, Tag

    stack: list[PageElement | str] = [page]  # not recursion: pages nest deeper than Python does
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            if _DROPPED.fullmatch(node.name):
                continue
            mark = _mark(node.name)
            if node.name == "pre":
                kept = node.get_text().strip("\n").replace(" ", _KEPT_SPACE)
                stack += [_PARAGRAPH, _PARAGRAPH + kept]
            else:
                stack += [mark, *reversed(node.contents), mark]
        elif type(node) in (NavigableString, CData):
            yield re.sub(r"\s+", " ", str(node))
        elif type(node) is str:
            yield node


def _mark(name: str) -> str:
    if _PARAGRAPHS.fullmatch(name):
        return _PARAGRAPH
    if _LINES.fullmatch(name):
        return _LINE
    return " " if name in _CELLS else ""
