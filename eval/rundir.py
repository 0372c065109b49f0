"""A run's directory: written file by file, each in one step, and read back with checks.

`ragib.eval.results` says what lies where. A pipeline's files are named `NN-slug`, after its place
in `results.json` and its name. That file is written last: where it is, the run is complete.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ragib.errors import InputError, RagibError, did_you_mean
from ragib.eval.results import PipelineResult, QueryResult, RunResults
from ragib.types import Passage

FORMAT = 1
"""Version of the files of a run directory that this code writes and reads."""

RESULTS = "results.json"
PASSAGES = "passages.jsonl"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PASSAGE = ("id", "doc_id", "title", "text", "start", "end")
_LONGEST = 60
_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (QueryResult, Passage, RunResults)
}


def file_names(pipelines: Sequence[PipelineResult] | Sequence[str]) -> dict[str, str]:
    """Return the stem of the files of every pipeline, `01-dense-reader`, by its name."""
    names = [p if isinstance(p, str) else p.name for p in pipelines]
    return {name: f"{number:02d}-{_slug(name)}" for number, name in enumerate(names, 1)}


def query_file(folder: Path, stem: str) -> Path:
    """Return where the rows of a pipeline lie."""
    return folder / "queries" / f"{stem}.jsonl"


def run_file(folder: Path, stem: str) -> Path:
    """Return where the TREC run of a pipeline lies."""
    return folder / "runs" / f"{stem}.trec"


def save_queries(folder: Path, stem: str, rows: Iterable[QueryResult]) -> None:
    """Write the rows of a pipeline; raises as `write_lines` does."""
    write_lines(query_file(folder, stem), (to_json(row) for row in rows))


def save_passages(folder: Path, passages: Iterable[Passage]) -> None:
    """Write passages, without metadata and access; raises as `write_lines` does."""
    lines = (to_json({key: getattr(p, key) for key in _PASSAGE}) for p in passages)
    write_lines(folder / PASSAGES, lines)


def save_run(
    folder: Path, stem: str, run: Mapping[str, Mapping[str, float]], tag: str = "ragib"
) -> None:
    """Write a TREC run: query id -> document id -> score; raises as `write_lines` does.

    The format is split at white space: what an id holds of that is written as `%20` and so on.
    """
    write_lines(
        run_file(folder, stem),
        (
            f"{_word(query)} Q0 {_word(document)} {rank} {score:.9g} {_word(tag)}"
            for query, scores in run.items()
            for rank, (document, score) in enumerate(
                sorted(scores.items(), key=lambda item: -item[1]), 1
            )
        ),
    )


def save_results(folder: Path, results: RunResults) -> None:
    """Write `results.json`, which makes the run complete; raises as `write_lines` does."""
    values = {"format": FORMAT, **_plain(results)}
    write_lines(folder / RESULTS, [json.dumps(values, indent=1, default=_plain, allow_nan=False)])


def load_results(folder: Path) -> RunResults:
    """Read the figures of a run.

    Raises
    ------
    InputError
        There is no complete run in the folder, it is damaged, or a newer version wrote it.
    """
    path = folder / RESULTS
    values = _parsed(path, _read(path))
    if not isinstance(values, dict) or not isinstance(values.get("format"), int):
        raise InputError(f"{path}: is not the results of a run")
    if (version := values.pop("format")) > FORMAT:
        raise InputError(f"{path}: has format {version}, this ragib reads {FORMAT}; upgrade ragib")
    results: RunResults = _valid(RunResults, values, str(path))
    names = [pipeline.name for pipeline in results.pipelines]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two pipelines have the same name")
    return results


def load_queries(folder: Path, results: RunResults, name: str) -> list[QueryResult]:
    """Read the rows of one pipeline of a run.

    Raises
    ------
    InputError
        The run has no such pipeline, or its file is missing or damaged; the message names file
        and line.
    """
    stems = file_names(results.pipelines)
    if name not in stems:
        raise InputError(f"{folder}: no pipeline {name!r}{did_you_mean(name, stems)}")
    path = query_file(folder, stems[name])
    rows: dict[str, QueryResult] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        row: QueryResult = _valid(QueryResult, _parsed(where, line), where)
        if rows.setdefault(row.id, row) is not row:
            raise InputError(f"{where}: query {row.id!r} is there twice")
    return list(rows.values())


def load_passages(folder: Path) -> dict[str, Passage]:
    """Read the passages that the rows of a run name, by id; raises as `load_queries` does."""
    path = folder / PASSAGES
    passages: dict[str, Passage] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}:{number}"
        passage: Passage = _valid(Passage, _parsed(where, line), where)
        passages[passage.id] = passage
    return passages


def to_json(value: object) -> str:
    """Return a value of ragib's types as JSON on one line; every number in it must be finite."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file whole or not at all; its folder is made.

    Raises
    ------
    RagibError
        The disk is full.
    InputError
        The file cannot be written for another reason.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.part")
        try:
            with aside.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's errors while writing at `path` into ours; raises as `write_lines` does."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RagibError(
                f"{path}: the disk is full; all that was finished is kept: free some space and "
                "run the same command again"
            ) from None
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", name.casefold()).strip("-.")[:_LONGEST] or "pipeline"


def _word(text: str) -> str:
    return re.sub(r"\s", lambda space: f"%{ord(space[0]):02X}", text) or "%00"


def _plain(value: object) -> Any:  # noqa: ANN401
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _lines(path: Path) -> list[str]:
    """Split at line feeds alone: JSON leaves other separators of lines as they are."""
    return _read(path).split("\n")[:-1]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogatepass")
    except FileNotFoundError:
        hint = "; `ragib eval` writes it when a run is complete" if path.name == RESULTS else ""
        raise InputError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is damaged: not UTF-8 at byte {error.start}") from None


def _parsed(where: str | Path, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is damaged: not valid JSON: {error}") from None


def _valid(kind: type[Any], value: object, where: str) -> Any:  # noqa: ANN401
    try:
        return _ADAPTERS[kind].validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the line"
        raise InputError(f"{where}: is damaged: {key}: {first['msg']}") from None
