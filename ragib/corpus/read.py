"""Read a corpus, whatever it is made of, as a stream of documents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from ragib.corpus.detect import Format, NotTextError, detect
from ragib.corpus.html import parse_html
from ragib.corpus.ids import SeenIds
from ragib.corpus.jsonl import read_jsonl
from ragib.corpus.markup import parse_markdown, parse_pdf, parse_text
from ragib.corpus.opening import DAMAGED, LARGEST_RECORD, damage, head_of, opened
from ragib.corpus.parquet import read_parquet
from ragib.corpus.records import BadRecords, clean, document_of, refuse
from ragib.corpus.tables import read_table
from ragib.errors import CorpusError, did_you_mean
from ragib.types import Document

Found = Iterator[tuple[str, Document]]
"""Documents, each with the place it was found at, for messages."""

_Reader = Callable[[str, BufferedReader, BadRecords | None], Found]
_Parser = Callable[[bytes], tuple[str, str]]

_RECORDS: dict[Format, _Reader] = {
    "jsonl": read_jsonl,
    "table": read_table,
    "parquet": read_parquet,
}
_DOCUMENTS: dict[Format, _Parser] = {
    "html": parse_html,
    "markdown": parse_markdown,
    "pdf": parse_pdf,
    "text": parse_text,
}
_BEIR = ("corpus.jsonl", "corpus.jsonl.gz")

_log = logging.getLogger("ragib.corpus")


def read_corpus(path: str | Path, *, bad: BadRecords | None = None) -> Iterator[Document]:
    """Read the documents of a corpus, one at a time.

    Formats are told by content first, by name where that leaves it open, and any file may be
    gzip'd: JSON lines (BEIR, Anserini), CSV and TSV with a header, Parquet (extra `parquet`);
    and, one document a file, plain text, Markdown, HTML and PDF (extra `pdf`). A folder is read
    with all folders in it, in the order of names, hidden files left out; a document that is a
    file of its own has its path in the folder for an id. Of a folder that holds `corpus.jsonl`
    only that file is read, as in BEIR. Offsets count in the text as read, where U+FFFD stands in
    for NUL and for lone surrogates.

    Memory holds one document at a time (of Parquet, some rows) and a hash of every id, to find
    repeated ones: at most 22 bytes a document. In 100 million documents the chance that two ids are
    taken for one is under 1 in 3000.

    Parameters
    ----------
    path
        A file or a folder.
    bad
        Collects bad records, which are then skipped; without it the first one raises. A folder's
        binary files are no error: without `bad` they are only counted in a log message.

    Raises
    ------
    CorpusError
        Nothing is at `path`, or no document in it; or, without `bad`, a record cannot be used.
        The message names file and line.
    MissingExtraError
        The format needs an optional part.
    """
    path = Path(path)
    try:
        return _distinct(path, _found(path, bad), bad)
    except OSError as error:
        raise CorpusError(f"{_shown(path)}: {damage(error)}") from None


def _found(path: Path, bad: BadRecords | None) -> Found:
    if path.is_dir():
        beir = next((path / name for name in _BEIR if (path / name).is_file()), None)
        return _single(beir, bad) if beir else _folder(path, bad)
    if path.is_file():
        return _single(path, bad)
    if path.exists():
        why = "neither a file nor a folder; write what it gives to a file first"
    else:
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        why = f"no such file or folder{did_you_mean(path.name, siblings)}"
    raise CorpusError(f"{_shown(path)}: {why}")


def _distinct(path: Path, found: Found, bad: BadRecords | None) -> Iterator[Document]:
    seen = SeenIds()
    for where, document in found:
        if seen.add(document.id):
            yield document
        else:
            refuse(bad, where, f"id {document.id!r} is there twice")
    if not len(seen):
        why = "holds no document"
        if bad is not None and bad.first:
            where, first = bad.first[-1]
            why += f" that can be used: {bad.count} skipped, such as {where}: {first}"
        raise CorpusError(f"{_shown(path)}: {why}")


def _folder(folder: Path, bad: BadRecords | None) -> Found:
    passed = BadRecords() if bad is None else bad
    for path in _files(folder, bad):
        try:
            yield from _file(path, path.relative_to(folder).as_posix(), bad)
        except NotTextError as error:
            passed.add(_shown(path), str(error))
    if bad is None and passed.count:
        where, why = passed.first[0]
        _log.warning(
            "%s: %d files passed over, such as %s: %s", _shown(folder), passed.count, where, why
        )


def _files(folder: Path, bad: BadRecords | None) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        refuse(bad, _shown(folder), f"the folder cannot be listed ({error.strerror})")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir() and not entry.is_symlink():  # a link may lead back up
            yield from _files(entry, bad)


def _single(path: Path, bad: BadRecords | None) -> Found:
    try:
        yield from _file(path, path.name, bad)
    except NotTextError as error:
        raise CorpusError(f"{_shown(path)}: {error}") from None


def _file(path: Path, name: str, bad: BadRecords | None) -> Found:
    try:
        with opened(path) as stream:
            form = detect(head_of(stream), path)
            if form in _RECORDS:
                yield from _RECORDS[form](_shown(path), stream, bad)
            else:
                yield from _document(path, name, _DOCUMENTS[form], stream, bad)
    except DAMAGED as error:
        refuse(bad, _shown(path), damage(error))


def _document(
    path: Path, name: str, parse: _Parser, stream: BufferedReader, bad: BadRecords | None
) -> Found:
    data = stream.read(LARGEST_RECORD + 1)
    try:
        if len(data) > LARGEST_RECORD:
            raise ValueError(f"one document of more than {LARGEST_RECORD:,} bytes")
        title, text = parse(data)
        document = document_of({"id": name, "title": title, "text": text})
    except (ValueError, RecursionError) as error:
        refuse(bad, _shown(path), str(error))
        return
    yield _shown(path), document


def _shown(path: Path) -> str:
    return clean(str(path))  # a name that is not UTF-8 could not be printed
