from __future__ import annotations

import subprocess
import sys

import pytest

from ragib.config import ChunkConfig
from ragib.corpus import chunk, word_tokens
from ragib.corpus.stdlib import documents
from ragib.types import Document


@pytest.fixture(scope="module")
def modules() -> dict[str, Document]:
    return {document.id: document for document in documents()}


def test_python_and_c_halves_of_a_module(modules: dict[str, Document]) -> None:
    assert "os.path.join(a, *p)\nJoin two or more pathname components" in modules["os.path"].text
    assert "\n\nos.path.exists(path)\n" in modules["os.path"].text
    assert "textwrap.TextWrapper.wrap(text)\n" in modules["textwrap"].text
    assert "math.gcd(*integers)\nGreatest Common Divisor." in modules["math"].text
    assert "collections.deque.appendleft" in modules["collections"].text
    assert "os.rename(" in modules["os"].text
    assert "builtins.str.split(" in modules["builtins"].text


def test_names_are_documented_once(modules: dict[str, Document]) -> None:
    lines = modules["heapq"].text.splitlines()
    assert sum(line.startswith("heapq.heappush(") for line in lines) == 1


def test_what_is_no_library_is_left_out(modules: dict[str, Document]) -> None:
    assert list(modules) == sorted(modules)
    assert all(document.text.strip() and document.title == id for id, document in modules.items())
    parts = {part for name in modules for part in name.split(".")}
    assert not parts & {
        "test",
        "idlelib",
        "this",
        "antigravity",
        "turtle",
        "tkinter",
        "_io",
        "posix",
    }


def test_the_size_of_the_demonstration(modules: dict[str, Document]) -> None:
    count = sum(len(chunk(d, ChunkConfig(), word_tokens)) for d in modules.values())
    assert 1500 <= count <= 3000


def test_reading_neither_prints_nor_imports_modules_written_in_python() -> None:
    code = (
        "import sys; from ragib.corpus.stdlib import documents; list(documents());"
        "assert not {'turtle', 'this', 'antigravity', 'smtplib', 'tkinter'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
