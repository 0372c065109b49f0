"""Files as bytes and as lines: gzip by its first bytes, encodings by byte order mark."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple

LARGEST_RECORD = 1 << 28
"""Bytes of the longest line, or of the longest file that is one document."""

_BUFFER = 1 << 16

DAMAGED = (EOFError, OSError, zlib.error)
"""What reading a file raises when the disk or the gzip data in it is damaged."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Line(NamedTuple):
    """One line with its 1-based number and its line break; `problem` says why it is unusable."""

    number: int
    text: str
    problem: str = ""


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading bytes, through gzip if its first bytes say so."""
    raw: BufferedReader = BufferedReader(FileIO(path), _BUFFER)
    with raw:
        if raw.peek(2)[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as unzipped:
                yield BufferedReader(unzipped, _BUFFER)
        else:
            yield raw


def head_of(stream: BufferedReader) -> bytes:
    """Return the first bytes of a stream (up to its buffer size) without moving it."""
    return stream.peek(1)


def encoding_of(head: bytes) -> tuple[bytes, str]:
    """Return the byte order mark a file begins with (or none) and the encoding it names."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return mark, encoding
    return b"", "utf-8"


def lines(stream: BufferedReader) -> Iterator[Line]:
    r"""Yield the lines of a text file, which end in ``\n`` only; memory holds one at a time.

    A line that is not valid in the file's encoding comes with a `problem` that names the byte; so
    does the place where damaged data ends the reading.
    """
    number, offset = 0, 0
    try:
        mark, encoding = encoding_of(head_of(stream))
        offset += len(stream.read(len(mark)))
        newline = "\n".encode(encoding)
        while raw := _raw_line(stream, newline):
            number += 1
            if len(raw) > LARGEST_RECORD:
                yield Line(
                    number, "", f"longer than {LARGEST_RECORD:,} bytes; the rest is not read"
                )
                return
            try:
                line = Line(number, raw.decode(encoding))
            except UnicodeDecodeError as error:
                problem = wrong_byte(error, offset)
                line = Line(number, raw.decode(encoding, "replace"), problem)
            offset += len(raw)
            yield line
    except DAMAGED as error:
        yield Line(number + 1, "", damage(error))


def _raw_line(stream: BufferedReader, newline: bytes) -> bytes:
    line = b""
    while part := stream.readline(LARGEST_RECORD + 1):
        line += part
        # In UTF-16 the byte \n may be half of another character: finish it, then look again.
        line += stream.read(-len(line) % len(newline))
        if line.endswith(newline) or len(line) > LARGEST_RECORD:
            break
    return line


def decoded(data: bytes) -> str:
    """Decode a whole file.

    Raises
    ------
    ValueError
        A byte is wrong in the encoding of the file; the message names line and byte.
    """
    mark, encoding = encoding_of(data)
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        number = data.count("\n".encode(encoding), 0, error.start + len(mark)) + 1
        raise ValueError(f"line {number}: {wrong_byte(error, len(mark))}") from None


def wrong_byte(error: UnicodeDecodeError, offset: int) -> str:
    """Say which byte of a file, counted from 0, is not valid in its encoding."""
    byte = error.object[error.start]
    return (
        f"byte {offset + error.start} (0x{byte:02x}) is not valid {error.encoding.upper()}: "
        "save the file as UTF-8"
    )


def damage(error: BaseException) -> str:
    """Say what is wrong with a file that cannot be read on."""
    if isinstance(error, EOFError):
        return "the gzip data ends early: the file is truncated"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return f"the gzip data is damaged ({error})"
    assert isinstance(error, OSError)
    return f"cannot be read ({error.strerror or error})"
