"""A small corpus, and a function that runs the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ragib.cli.main import cli

RECORDS = [
    {"_id": "tower", "title": "Tower", "text": "Gustave Eiffel built the iron tower. It is old.",
     "lang": "en", "year": 1889},
    {"_id": "bridge", "title": "Bridge", "text": "The stone bridge crosses the river in Rome.",
     "lang": "en", "year": 134},
    {"_id": "mond", "title": "Mond", "text": "The moon and the star shine by night.",
     "lang": "de", "year": 1969},
    {"_id": "secret", "title": "Secret", "text": "The hidden gold lies under the old bridge.",
     "lang": "en", "year": 1500, "access": ["crown"]},
]  # fmt: skip

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo after each test what `--offline` sets for the process, and start without it."""
    for name in ("RAGIB_OFFLINE", "RAGIB_TRACEBACK", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)


@pytest.fixture
def run() -> Run:
    """Run `ragib ARGUMENTS` and return what came of it; a traceback fails the test."""

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output
        assert "this is a bug" not in result.output
        return result

    return call


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.fixture
def sparse_index(run: Run, corpus: Path, tmp_path: Path) -> Path:
    """An index of the small corpus that needs no encoder."""
    out = tmp_path / "idx"
    result = run("index", corpus, "--out", out, "--kind", "sparse")
    assert result.exit_code == 0, result.output
    return out
