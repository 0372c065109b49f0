from __future__ import annotations

from pathlib import Path

import pytest

from ragib.compressor.cache import cache_folder, cached
from ragib.errors import InputError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Makes another content every time, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return b"content %d" % self.made


def test_it_is_made_once(folder: Path) -> None:
    make = Maker()
    assert [cached("a", make) for _ in range(3)] == [b"content 1"] * 3
    assert cached("b", make) == b"content 2"
    assert {path.name for path in folder.iterdir()} == {"a", "a.sha256", "b", "b.sha256"}


@pytest.mark.parametrize("name", ["a", "a.sha256"])
@pytest.mark.parametrize("damage", [b"", b"content 2", b"\xff\xfe" * 40, None])
def test_what_is_damaged_or_missing_is_made_again(
    folder: Path, name: str, damage: bytes | None
) -> None:
    make = Maker()
    cached("a", make)
    if damage is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damage)
    assert cached("a", make) == b"content 2"
    assert cached("a", make) == b"content 2"
    assert make.made == 2


def test_what_cannot_be_made_leaves_nothing_behind(folder: Path) -> None:
    def fail() -> bytes:
        raise InputError("it has no such form")

    with pytest.raises(InputError, match="no such form"):
        cached("a", fail)
    assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_to_is_found_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAGIB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be written to: .*set RAGIB_CACHE to another"):
        cached("a", make)
    assert make.made == 0


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RAGIB_CACHE": "/own", "XDG_CACHE_HOME": "/shared"}, "/own"),
        ({"RAGIB_CACHE": "~/own"}, "/home/me/own"),
        ({"XDG_CACHE_HOME": "/shared"}, "/shared/ragib"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/ragib"),
        ({"RAGIB_CACHE": "", "XDG_CACHE_HOME": ""}, "/home/me/.cache/ragib"),
    ],
)
def test_where_it_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("RAGIB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_without_a_home_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("RAGIB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError, match="set RAGIB_CACHE"):
        cache_folder()
