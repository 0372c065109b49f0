"""TREC topics, in SGML (`<top>`), XML (`<topic number>`) or `id TAB text`, and judgements."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from ragib.corpus.records import clean
from ragib.errors import InputError
from ragib.eval.lines import numbered_lines
from ragib.text import one_line

_BEGIN = re.compile(r"<top(?:ic\b[^>]*)?>", re.I)
_NUMBER = re.compile(r"<num>\s*(?:number:)?\s*([^\s<]+)|<topic\b[^>]*\bnumber=[\"']([^\"']+)", re.I)
_TITLE = re.compile(r"<(?:title|query)>\s*(?:topic:)?(.*?)(?=<|\Z)", re.I | re.S)


def read_topics(path: Path) -> dict[str, str]:
    """Read topics: id -> title.

    Raises
    ------
    InputError
        The file cannot be read, a topic lacks a number or a title, or a number occurs twice.
    """
    topics: dict[str, str] = {}
    for number, name, title in _topics(path):
        if not name or not title:
            raise InputError(f"{path}:{number}: a topic without {'title' if name else 'number'}")
        if name in topics:
            raise InputError(f"{path}:{number}: query id {name!r} occurs twice")
        topics[name] = title
    return topics


def read_trec_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements `query iteration document grade`, parted by white space.

    Raises
    ------
    InputError
        The file or a line of it cannot be read.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        try:
            query, _, document, grade = line.split()
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError:
            raise InputError(
                f"{path}:{number}: expected query, iteration, document and a whole number"
            ) from None
    return qrels


def _topics(path: Path) -> Iterator[tuple[int, str, str]]:
    block: list[str] = []
    begun = 0
    for number, line in numbered_lines(path):
        starts = _BEGIN.search(line) is not None
        if starts and block:
            yield begun, *_topic("\n".join(block))
        if starts:
            block, begun = [line], number
        elif block:
            block.append(line)
        elif not line.lstrip().startswith("<"):
            name, tab, text = line.partition("\t")
            if not tab:
                raise InputError(f"{path}:{number}: expected <top>, <topic> or 'id TAB text'")
            yield number, name.strip(), clean(one_line(text))
    if block:
        yield begun, *_topic("\n".join(block))


def _topic(block: str) -> tuple[str, str]:
    number, title = _NUMBER.search(block), _TITLE.search(block)
    name = (number[1] or number[2]) if number else ""
    return name, clean(one_line(html.unescape(title[1]))) if title else ""
