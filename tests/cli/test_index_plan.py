"""`ragib index --plan`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_a_plan_is_printed_and_nothing_is_built(run: Run, corpus: Path, tmp_path: Path) -> None:
    command = ("index", corpus, "--out", tmp_path / "i", "--kind", "sparse", "--plan")
    text = run(*command)
    assert text.exit_code == 0, text.output
    lines = {line.split()[0]: line.split()[1] for line in text.stdout.splitlines()}
    assert (lines["documents"], lines["passages"]) == ("4", "4")
    assert {"bytes.sparse", "building.disk", "building.memory", "building.seconds.total"} <= set(
        lines
    )
    facts = json.loads(run(*command, "--json").stdout)
    assert facts["bytes"]["total"] == facts["bytes"]["passages"] + facts["bytes"]["sparse"]
    assert not (tmp_path / "i").exists()


def test_a_plan_that_does_not_fit_fails(
    run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    options = ("index", corpus, "--out", tmp_path / "i", "--kind", "sparse")
    planned = run(*options, "--plan", "--json")
    assert planned.exit_code == 1
    assert json.loads(planned.stdout)["free"]["disk"] == 100
    built = run(*options)
    assert built.exit_code == 1
    for result in (planned, built):
        (line,) = result.stderr.splitlines()
        assert "100 are free" in line
    assert not (tmp_path / "i").exists()


def test_a_build_can_say_what_it_made_as_json(run: Run, corpus: Path, tmp_path: Path) -> None:
    result = run("index", corpus, "--out", tmp_path / "i", "--kind", "sparse", "--json")
    assert json.loads(result.stdout)["documents"] == 4
