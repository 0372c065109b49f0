"""A writer killed at any moment leaves the index as it was, or as it was to become.

`KILLS=500 python -m pytest tests/faults/test_kill.py -k any_time` kills that often.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import victim

from ragib.errors import IndexCorruptError, IndexDirError
from ragib.indexes.index import Index
from ragib.indexes.verify import verify

ROUNDS = 40
KILLS = int(os.environ.get("KILLS", "0"))


@pytest.fixture(scope="module")
def ask():
    """A process that has imported everything once, and forks the victims."""
    process = subprocess.Popen(
        [sys.executable, victim.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(verb: str, path: Path, when: int | float | None) -> tuple[bool, int]:
        process.stdin.write(json.dumps([verb, str(path), when]) + "\n")
        process.stdin.flush()
        died, events = json.loads(process.stdout.readline())
        return died, events

    yield ask
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def scratch():
    """A folder in memory if there is one: a killed process needs no disk to be slow."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def start(scratch, ask) -> Path:
    """An index with two segments and deleted rows."""
    path = scratch / "start"
    for verb in ("build", "add", "cut"):
        ask(verb, path, None)
    return path


def generation(path: Path) -> int:
    try:
        return int((path / "CURRENT").read_text().split()[0])
    except FileNotFoundError:
        return 0


def check(path: Path, was: int, before: list[str] | None, after: list[str]) -> bool:
    """Assert that a killed writer did no harm; say whether its work was committed."""
    committed = generation(path) > was
    if before is None and not committed:
        with pytest.raises(IndexDirError) as caught:
            Index.open(path)
        assert not isinstance(caught.value, IndexCorruptError)
        return False
    assert verify(path) == []
    assert victim.content(str(path)) == (after if committed else before)
    return committed


def files(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("verb", ["build", "overwrite", "add", "delete", "compact"])
def test_killed_before_any_file_system_event(verb, scratch, start, ask):
    fresh = verb == "build"
    was, before = (0, None) if fresh else (generation(start), victim.content(str(start)))
    whole = scratch / f"{verb}-whole"
    if not fresh:
        shutil.copytree(start, whole)
    died, events = ask(verb, whole, None)
    assert not died and events > 20
    after = victim.content(str(whole))
    rng = random.Random(verb)
    committed = []
    for when in sorted(rng.sample(range(events), min(events, 16))):
        path = scratch / f"{verb}-{when}"
        if not fresh:
            shutil.copytree(start, path)
        died, _ = ask(verb, path, when)
        assert died
        committed.append(check(path, was, before, after))
        if fresh and committed[-1]:
            ask("tidy", path, None)
        else:
            died, _ = ask(verb, path, None)
            assert not died
        assert victim.content(str(path)) == after
        if not committed[-1]:
            assert len(files(path)) == len(files(whole))  # nothing is left lying about
        shutil.rmtree(path)
    assert committed == sorted(committed)  # the moment of the switch
    assert not committed[0]


@pytest.mark.timeout(0 if KILLS else 300)
def test_killed_at_any_time(scratch, start, ask):
    """One index, changed and killed over and over: always some state it was meant to have."""
    path = scratch / "changing"
    shutil.copytree(start, path)
    rng = random.Random(7)
    rounds = deaths = 0
    while rounds < ROUNDS or deaths < KILLS:
        rounds += 1
        verb = rng.choice(["overwrite", "add", "delete", "compact"])
        was, before = generation(path), victim.content(str(path))
        goal = scratch / "goal"
        shutil.copytree(path, goal)
        begun = time.monotonic()
        ask(verb, goal, None)
        taken = time.monotonic() - begun
        after = victim.content(str(goal))
        shutil.rmtree(goal)
        died, _ = ask(verb, path, rng.uniform(0, taken))
        deaths += died
        check(path, was, before, after)
    assert deaths >= 10
    ask("compact", path, None)
    assert len(list((path / "segments").iterdir())) == 1
