"""The layout: what is listed, what lies in the tree and what is in the wheel are one thing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("indexes", "eval", "cli")
TOP = {
    "pyproject.toml", "README.md", "ragib", "indexes", "eval", "tests", "cli", "configs",
    "Makefile", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", "docs",
}  # fmt: skip
"""The names a user meets at the top; those that begin with a dot come beside them."""
MADE = {"build", "dist", "runs", "ragib.egg-info", "__pycache__"}
"""What tools leave behind; ignored by git."""
HALF_DONE = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")


def listed() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(project["tool"]["setuptools"]["packages"])


def tree_packages() -> set[str]:
    """Name every folder with an `__init__.py`, the way it is imported."""
    names = set()
    for top in ("ragib", *LINKED):
        prefix = () if top == "ragib" else ("ragib",)
        for init in (ROOT / top).rglob("__init__.py"):
            names.add(".".join((*prefix, *init.parent.relative_to(ROOT).parts)))
    return names


def tree_files() -> set[str]:
    """Name every file that a wheel has to bring, by its path in the wheel."""
    files = {"ragib/py.typed"}
    files |= {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ragib" / "weights").rglob("*")
        if path.is_file()
    }
    for package in tree_packages():
        folder = ROOT.joinpath(*package.split("."))
        files |= {
            f"{package.replace('.', '/')}/{path.name}"
            for path in folder.iterdir()
            if path.suffix in {".py", ".html", ".css", ".js"}
        }
    return files


def test_every_package_is_listed() -> None:
    assert listed() == tree_packages()


@pytest.mark.parametrize("name", LINKED)
def test_links_point_at_the_top(name: str) -> None:
    link = ROOT / "ragib" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_top_level_names_are_fixed() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert names - MADE <= TOP
    assert {"ragib", "indexes", "eval", "cli", "tests", "configs", "Makefile"} <= names


def test_every_python_file_is_in_a_package() -> None:
    packages = {ROOT.joinpath(*name.split(".")).resolve() for name in tree_packages()}
    strays = [
        path
        for top in ("ragib", *LINKED)
        for path in (ROOT / top).rglob("*.py")
        if path.parent.resolve() not in packages
    ]
    assert strays == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel that is built out of the source distribution of a copy."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    for name in ("ragib", *LINKED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=HALF_DONE)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."],
        cwd=copy,
        check=True,
        capture_output=True,
    )
    (built,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_tree_and_nothing_else(wheel: set[str]) -> None:
    content = {name for name in wheel if ".dist-info/" not in name}
    assert content == tree_files()


def test_wheel_has_one_top_level_name(wheel: set[str]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel} == {"ragib"}


def test_wheel_brings_the_command_and_the_licence(wheel: set[str]) -> None:
    info = {name.partition(".dist-info/")[2] for name in wheel if ".dist-info/" in name}
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= info
