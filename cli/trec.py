"""TREC run files: `query Q0 document rank score tag`, one line a document."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ragib.errors import InputError


@contextmanager
def trec_run(path: Path, tag: str) -> Iterator[Callable[[str, Mapping[str, float]], None]]:
    """Give a function that writes one query's documents, by score, into a run file.

    The file appears under its name when all is written, and not at all if anything fails.

    Raises
    ------
    InputError
        The file cannot be written, or an id or the tag holds white space, which the format has
        no room for.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        file = aside.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with file:

            def write(query: str, documents: Mapping[str, float]) -> None:
                ranked = sorted(documents.items(), key=lambda item: -item[1])
                for rank, (document, score) in enumerate(ranked, start=1):
                    fields = (_word(query), "Q0", _word(document), rank, f"{score:.9g}", _word(tag))
                    file.write(" ".join(map(str, fields)) + "\n")

            yield write
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _word(text: str) -> str:
    if not text or len(text.split()) != 1 or text != text.strip():
        raise InputError(f"{text!r} holds white space (or nothing), which a TREC run cannot name")
    return text
