"""The cache of stages: whole batches or nothing, and plain words for a bad file."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragib.errors import InputError, RagibError
from ragib.eval.cache import NAME, Cache, key_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
).filter(lambda value: "inf" not in repr(value))


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=5))
def test_what_is_put_is_found(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("cache")
    with Cache(folder) as cache:
        cache.put("a", values)
        assert cache.get("a", [*values, "none"]) == values
        assert cache.get("b", list(values)) == {}
    with Cache(folder) as cache:
        assert cache.get("a", list(values)) == values


def test_many_keys_at_once(tmp_path):
    with Cache(tmp_path) as cache:
        values = {str(n): n for n in range(1234)}
        cache.put("a", values)
        assert cache.get("a", list(values)) == values


def test_a_key_is_of_the_content():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) == key_of({"a": 1, "b": (2,)})
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of(["ab", "c"])}) == 4


def test_a_batch_that_cannot_be_written_leaves_nothing_of_it(tmp_path):
    with Cache(tmp_path) as cache:
        cache.put("a", {"k": 1})
        with pytest.raises(ValueError, match="not JSON compliant"):
            cache.put("a", {"k": 2, "l": float("nan")})
        assert cache.get("a", ["k", "l"]) == {"k": 1}


def test_a_killed_writer_leaves_whole_batches(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from ragib.eval.cache import Cache\n"
        "cache = Cache(Path(sys.argv[1]))\n"
        "cache.put('a', {'k': 1, 'l': 2})\n"
        "cache._file.execute(\"INSERT INTO results VALUES ('a', 'm', '3')\")\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    with Cache(tmp_path) as cache:
        assert cache.get("a", ["k", "l", "m"]) == {"k": 1, "l": 2}


def test_a_damaged_file_says_what_to_do(tmp_path):
    (tmp_path / NAME).write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"is damaged .*; delete it"):
        Cache(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Cache(tmp_path / "file" / "cache")


def test_a_full_disk_keeps_what_was_there(tmp_path):
    with Cache(tmp_path) as cache:
        cache.put("a", {"k": 1})
        pages = cache._file.execute("PRAGMA page_count").fetchone()[0]
        cache._file.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RagibError, match="the disk is full; all that was finished is kept"):
            cache.put("a", {"l": "x" * 100_000})
        assert cache.get("a", ["k", "l"]) == {"k": 1}
