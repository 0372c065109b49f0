"""Compress a file of questions: streamed, resumable, and put in place only when it is whole.

Results go to a partial file beside the target, a line a question, and the target appears by a
rename at the end. The partial file's name holds a digest of the input and of the compressor's
settings, so a run that was stopped resumes only what was begun in the same way.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

from ragib.compressor.base import Compressor
from ragib.compressor.records import read_questions, to_line
from ragib.corpus.opening import DAMAGED, damage, opened
from ragib.corpus.records import BadRecords
from ragib.errors import InputError, RagibError
from ragib.text import batched
from ragib.types import Compressed, Question

_KEYS = {field.name for field in fields(Compressed)}

BATCH = 64
"""Questions that are read, compressed and written together."""


@dataclass(slots=True)
class Summary:
    """What became of a file; `seconds` were spent in the compressor, on all but `resumed`."""

    questions: int = 0
    resumed: int = 0
    words_in: int = 0
    words_kept: int = 0
    abstained: int = 0
    seconds: float = 0.0

    def count(self, words_in: int, words_kept: int, abstained: bool) -> None:
        """Add one question."""
        self.questions += 1
        self.words_in += words_in
        self.words_kept += words_kept
        self.abstained += abstained


def compress_file(
    source: Path,
    target: Path,
    compressor: Compressor,
    settings: str,
    *,
    bad: BadRecords | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Summary:
    """Compress every question of `source` into one line of `target`.

    Parameters
    ----------
    source
        JSON lines, gzip'd or not; see `ragib.compressor.records.read_questions`.
    target
        Replaced when all is done. Until then the results so far stand in a file beside it whose
        name ends in `.partial`; the same call resumes there.
    compressor
        What to compress with.
    settings
        Everything the results depend on beside the source: name, limits, weights.
    bad
        Collects the records that cannot be used; without it the first of them ends the run.
    progress
        Called with a stage, the questions done and all there are.

    Raises
    ------
    InputError
        A file cannot be read or opened, a record cannot be used, or another process is writing
        the same results.
    RagibError
        Writing failed, as on a full disk; the partial file stays and can be resumed.
    """
    _check(source, target)
    total = _count_lines(source)
    summary = Summary()
    with _partial(source, target, settings) as (path, file):
        questions = read_questions(source, bad)
        for batch in batched(_not_yet_done(file, questions, summary), BATCH):
            begin = perf_counter()
            results = compressor.compress(batch)
            summary.seconds += perf_counter() - begin
            with _written(path):
                file.write("".join(map(to_line, results)).encode())
                file.flush()
            for result in results:
                summary.count(result.words_in, result.words_kept, result.abstained)
            if progress is not None:
                progress("compress", summary.questions, total - (bad.count if bad else 0))
        with _written(path):
            os.fsync(file.fileno())
            path.replace(target)
    return summary


def _check(source: Path, target: Path) -> None:
    if not source.is_file():
        raise InputError(f"{source}: there is no such file")
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}; make it first")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target}: is the input as well; name another file")
    if target.suffix == ".gz":
        raise InputError(f"{target}: results are written as plain JSON lines; drop the .gz")


def _count_lines(source: Path) -> int:
    try:
        with opened(source) as stream:
            return sum(1 for line in stream if line.strip())
    except DAMAGED as error:
        raise InputError(f"{source}: {damage(error)}") from None


@contextmanager
def _partial(source: Path, target: Path, settings: str) -> Iterator[tuple[Path, BinaryIO]]:
    """Open the partial file of this very run, from now on locked against other processes."""
    state = source.stat()
    begun = [str(source.resolve()), state.st_size, state.st_mtime_ns, settings]
    digest = hashlib.sha256(json.dumps(begun).encode()).hexdigest()[:12]
    path = target.with_name(f"{target.name}.{digest}.partial")
    try:
        file = path.open("a+b")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path}: another process is writing it; let it finish") from None
        yield path, file


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RagibError(
            f"{path}: cannot be written: {error.strerror}; the results so far are kept, so put it "
            "right and run the same command again"
        ) from None


def _not_yet_done(
    file: BinaryIO, questions: Iterator[Question], summary: Summary
) -> Iterator[Question]:
    """Count the results that stand in the partial file, then yield the questions without any.

    The file is cut after the last whole result, which is where a killed process stopped.
    """
    good = 0
    file.seek(0)
    for line in file:
        question = next(questions, None)
        record = _result(line)
        if question is None or record is None or record["id"] != question.id:
            file.truncate(good)
            if question is not None:
                yield question
            break
        good += len(line)
        summary.count(record["words_in"], record["words_kept"], record["abstained"])
        summary.resumed += 1
    yield from questions


def _result(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() >= _KEYS else None
