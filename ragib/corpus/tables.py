"""Tables: CSV and TSV, one document a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from io import BufferedReader

from ragib.corpus.detect import header_delimiter
from ragib.corpus.opening import LARGEST_RECORD, lines
from ragib.corpus.records import ID_KEYS, TEXT_KEYS, BadRecords, document_of, refuse
from ragib.types import Document

# An empty cell says nothing, except here: no id and no text are errors, no group is nobody.
_KEPT_EMPTY = {*ID_KEYS, *TEXT_KEYS, "access"}


class _Source:
    """The lines of a table for `csv`, which pulls several for one row; remembers where it is."""

    def __init__(self, stream: BufferedReader) -> None:
        self._lines = lines(stream)
        self.number = 0
        self.problem = ""

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        self.problem = self.problem or line.problem
        return line.text


def read_table(
    name: str, stream: BufferedReader, bad: BadRecords | None
) -> Iterator[tuple[str, Document]]:
    """Yield every document of a delimited text file with where it stands (`name:line`).

    The delimiter is the one that makes an id and a text column of the header. Quotes are read as
    RFC 4180 has it; between tabs, where few writers quote, a field holds no line break. Cells
    stay strings. Empty ones are left out of the metadata, but an empty `access` names no group:
    nobody may see that document.
    """
    source = _Source(stream)
    first = next(source, "")
    delimiter = header_delimiter(first.strip())
    if source.problem or delimiter is None:
        why = (
            f"the first line names no id and text columns (_id or id, text): {first.strip()[:99]!r}"
        )
        refuse(bad, f"{name}:1", source.problem or why)
        return
    try:
        names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        refuse(bad, f"{name}:1", f"not valid CSV: {error}")
        return
    header = [column.strip() for column in names]
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        refuse(bad, f"{name}:1", f"the header names column {twice!r} twice")
        return
    rows = _rows(source, delimiter, len(header))
    while True:
        where = f"{name}:{source.number + 1}"
        source.problem = ""
        try:
            cells = next(rows, None)
            if cells is None and not source.problem:
                return
            if source.problem:
                raise ValueError(source.problem)
            if cells and any(cells):
                yield where, document_of(_record(header, cells))
        except csv.Error as error:
            refuse(bad, where, f"not valid CSV: {source.problem or error}")
        except ValueError as error:
            refuse(bad, where, str(error))


def _rows(source: Iterator[str], delimiter: str, width: int) -> Iterator[list[str]]:
    # Neither iterator ends when a row raises, as a generator would: the next row can be read.
    if delimiter == "\t":
        return map(partial(_between_tabs, width=width), source)
    csv.field_size_limit(LARGEST_RECORD)  # the default refuses texts of more than 128 KiB
    return csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=True)


def _between_tabs(line: str, width: int) -> list[str]:
    # A text may begin with a quotation mark and never close it: quotes count only if they must.
    cells = line.rstrip("\r\n").split("\t")
    if len(cells) == width:
        return [_unquoted(cell) for cell in cells]
    return next(csv.reader([line], delimiter="\t", strict=True), [])


def _unquoted(cell: str) -> str:
    inner = cell[1:-1].replace('""', "")
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner:
        return cell[1:-1].replace('""', '"')
    return cell


def _record(header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} fields, but the header names {len(header)}")
    pairs = zip(header, cells, strict=True)
    return {column: cell for column, cell in pairs if cell or column in _KEPT_EMPTY}
