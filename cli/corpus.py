"""Reading a corpus for `ragib index` and `ragib add`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragib.cli.common import note, printable
from ragib.types import Document

LISTED = 10
"""Skipped records that are named; the others are counted."""


@contextmanager
def documents_of(corpus: Path, skip_bad: bool) -> Iterator[Iterator[Document]]:
    """Stream the documents of a corpus; with `skip_bad`, tell in the end what was skipped."""
    from ragib.corpus import BadRecords, read_corpus

    bad = BadRecords() if skip_bad else None
    yield read_corpus(corpus, bad=bad)
    if bad is not None and bad.count:
        note(f"skipped {bad.count} records that could not be read:")
        for where, why in bad.first[:LISTED]:
            note(f"  {printable(where)}: {printable(why)}")
        if bad.count > LISTED:
            note(f"  and {bad.count - LISTED} more")
