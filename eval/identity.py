"""Whose run a directory holds, and what a run says of itself."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ragib
from ragib.errors import InputError
from ragib.eval.bench.common import provenance
from ragib.eval.cache import key_of
from ragib.eval.evalset import EvalSet
from ragib.eval.grid import Grid
from ragib.eval.judging import described_judge
from ragib.eval.rundir import to_json, write_lines, writing
from ragib.indexes.durable import sha256_of

NAME = "run.json"
_LOCK = "run.lock"


@contextmanager
def claimed(out: Path, grid: Grid, data: EvalSet, corpus: str) -> Iterator[None]:
    """Hold a run directory for one run, alone.

    Parameters
    ----------
    out
        New, empty, or a directory of the same run.
    grid, data
        What the run is of.
    corpus
        Digest of the documents.

    Raises
    ------
    InputError
        The directory cannot be written, holds something else, or is in use.
    """
    mine = _identity(grid, data, corpus)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        strangers = [path.name for path in out.iterdir() if path.name not in (_LOCK, "cache")]
        lock = (out / _LOCK).open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{out}: another process is running it; let it finish") from None
        found = _recorded(out)
        if found is None and strangers:
            raise InputError(f"{out}: is not empty and holds no run; name a new folder")
        differs = [part for part in mine if found is not None and found.get(part) != mine[part]]
        if differs:
            raise InputError(
                f"{out}: holds another run, of other {' and other '.join(differs)}; name another "
                f"folder, and --cache {out / 'cache'} so that its work is used again"
            )
        if found is None:
            write_lines(out / NAME, [to_json(mine)])
        yield


def described(
    grid: Grid,
    data: EvalSet,
    corpus: tuple[str, int],
    command: str,
    timed: Mapping[str, int],
) -> dict[str, Any]:
    """Return the manifest of a run: what, of what, when, with what and where.

    Parameters
    ----------
    grid, data
        What the run is of.
    corpus
        Digest and number of the documents.
    command
        How it was started.
    timed
        How many pipelines were timed in this run, and in earlier ones.
    """
    there = provenance()
    digest, documents = corpus
    return {
        "command": command or there["command"],
        "date": there["date"],
        "ragib": ragib.__version__,
        "commit": there["commit"],
        "hardware": there["hardware"],
        "versions": there["versions"],
        "data": {
            "name": data.name,
            "queries": len(data.queries),
            "documents": documents,
            "corpus_sha256": digest,
            "files": {str(path): sha256_of(path) for path in data.files if path.is_file()},
            "notes": list(data.notes),
        },
        "pipelines_timed": dict(timed),
        "grid": grid.text,
        "base": grid.base.model_dump(mode="json"),
        **({"judge": described_judge(grid.judge)} if grid.judge is not None else {}),
    }


def _identity(grid: Grid, data: EvalSet, corpus: str) -> dict[str, str]:
    options = (grid.load, grid.ladder)
    pipelines = [
        [pipeline.name, pipeline.config.model_dump(mode="json")] for pipeline in grid.pipelines
    ]
    more = [option and option.model_dump(mode="json") for option in options]
    if grid.judge is not None:
        more.append(described_judge(grid.judge))
    queries = [[q.id, q.text, q.answers, q.answerable, dict(q.judged)] for q in data.queries]
    return {
        "pipelines": key_of(pipelines),
        "options": key_of(grid.latency, grid.noise, grid.retention, more),
        "questions": key_of(queries),
        "documents": corpus,
    }


def _recorded(out: Path) -> dict[str, Any] | None:
    path = out / NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path}: is damaged; name a new folder, or delete this one")
    return values
