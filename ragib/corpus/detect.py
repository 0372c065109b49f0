"""Tell what a file is: by its first bytes, and by its name where they leave it open."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Literal

from ragib.corpus.opening import encoding_of
from ragib.corpus.records import ID_KEYS, TEXT_KEYS

Format = Literal["jsonl", "table", "parquet", "html", "pdf", "markdown", "text"]

DELIMITERS = ("\t", ",", ";", "|")

_BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "table",
    ".tsv": "table",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
}
_BINARY = {
    b"PK\x03\x04": "a zip file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x1f\x8b": "gzip data within gzip data",
}
_JSON = re.compile(r'\s*\{\s*["}]')
_HTML = re.compile(
    r"\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S
)


class NotTextError(ValueError):
    """The file is of no kind that holds documents."""


def detect(head: bytes, path: PurePath) -> Format:
    """Return the format of a file.

    Parameters
    ----------
    head
        Its first bytes, uncompressed.
    path
        Its name; a last suffix `.gz` does not count.

    Raises
    ------
    NotTextError
        It is a binary file of another kind.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"%PDF-") or _suffix(path) == ".pdf":
        return "pdf"
    for magic, name in _BINARY.items():
        if head.startswith(magic):
            raise NotTextError(f"{name}: unpack it first")
    mark, encoding = encoding_of(head)
    if not mark and b"\x00" in head[:8192]:
        at = head.index(b"\x00")
        raise NotTextError(f"not a text file, or UTF-16 without a byte order mark (byte {at} is 0)")
    start = head[len(mark) :].decode(encoding, "replace")
    if _JSON.match(start):
        return "jsonl"
    if _HTML.match(start):
        return "html"
    if header_delimiter(start.partition("\n")[0]):
        return "table"
    return _BY_SUFFIX.get(_suffix(path), "text")


def header_delimiter(line: str) -> str | None:
    """Return the delimiter that makes a table header with an id and a text of a line, if any."""
    for delimiter in DELIMITERS:
        names = {name.strip().strip('"') for name in line.split(delimiter)}
        if names & set(ID_KEYS) and names & set(TEXT_KEYS):
            return delimiter
    return None


def _suffix(path: PurePath) -> str:
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    return path.suffix.lower()
