"""Parquet: one document a row, read by batches of rows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from typing import IO

from ragib.corpus.records import BadRecords, document_of, refuse
from ragib.extras import require
from ragib.types import Document

_ROWS = 256


def read_parquet(
    name: str, stream: BufferedReader, bad: BadRecords | None
) -> Iterator[tuple[str, Document]]:
    """Yield every document of a Parquet file with where it stands (`name:row`, from 1)."""
    pyarrow = require("pyarrow", "reading Parquet")
    parquet = require("pyarrow.parquet", "reading Parquet")
    number = 0
    try:
        with _seekable(stream) as file:
            for batch in parquet.ParquetFile(file).iter_batches(_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    try:
                        document = document_of(row)
                    except ValueError as error:
                        refuse(bad, f"{name}:{number}", str(error))
                        continue
                    yield f"{name}:{number}", document
    except (pyarrow.ArrowException, ValueError) as error:
        refuse(bad, f"{name}:{number + 1}", f"not valid Parquet ({error})")


@contextmanager
def _seekable(stream: BufferedReader) -> Iterator[IO[bytes]]:
    # The schema stands at the end of the file: through gzip that means to unpack it first.
    if isinstance(stream.raw, FileIO):
        yield stream
        return
    with tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(stream, unpacked)
        unpacked.seek(0)
        yield unpacked
