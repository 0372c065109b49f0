"""A process that changes indexes and is killed while it does: run as a script by the fault tests.

It reads jobs from stdin, one JSON list a line: `[verb, directory, when]`. A job runs in a fork
that kills itself with SIGKILL right before its `when`-th file system event if `when` is an
integer, is killed from outside after `when` seconds if it is a float, and lives if it is null.
The answer is one JSON list a line: `[died, events]`.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable

from ragib.config import ChunkConfig, IndexConfig
from ragib.indexes.index import Index
from ragib.indexes.lock import tidy
from ragib.types import Document

CONFIG = IndexConfig(kinds=("sparse",), chunk=ChunkConfig(max_tokens=8, overlap_tokens=0))
EVENTS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "fcntl.flock",
    "sqlite3.connect",
)


def documents(version: int, start: int, stop: int) -> list[Document]:
    return [
        Document(f"d{i}", f"Version {version} of poem {i}. It has two sentences.", f"t{version}")
        for i in range(start, stop)
    ]


VERBS: dict[str, Callable[[str], object]] = {
    "build": lambda path: Index.build(documents(1, 0, 20), path, CONFIG),
    "overwrite": lambda path: Index.build(documents(2, 0, 15), path, CONFIG, overwrite=True),
    "add": lambda path: Index.open(path).add(documents(3, 10, 30)),
    "cut": lambda path: Index.open(path).delete(["d3", "d4", "d11"]),
    "delete": lambda path: Index.open(path).delete(["d0", "d5", "d12"], missing_ok=True),
    "compact": lambda path: Index.open(path).compact(),
    "tidy": tidy,
}


def content(path: str) -> list[str]:
    """Everything that can be read out of an index."""
    with Index.open(path, verify=True) as index:
        passages = [f"{p.id} {p.title} {p.start} {p.text}" for p in index.passages()]
        hits = index.search("version poem sentences", 1000)
        assert sorted(hit.passage.id for hit in hits) == sorted(p.split()[0] for p in passages)
    return passages


def run(verb: str, path: str, when: int | float | None) -> tuple[bool, int]:
    """Run a job in a fork; say whether it was killed and how many events it saw."""
    inlet, outlet = os.pipe()
    child = os.fork()
    if not child:
        seen = 0

        def count(event: str, _: object) -> None:
            nonlocal seen
            if event in EVENTS:
                if isinstance(when, int) and seen == when:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(count)
        try:
            VERBS[verb](path)
            os.write(outlet, str(seen).encode())
        finally:
            os._exit(0)
    os.close(outlet)
    if isinstance(when, float):
        time.sleep(when)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    seen = os.read(inlet, 20)
    os.close(inlet)
    return os.WIFSIGNALED(status), int(seen or -1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        VERBS["build"](folder)  # so that forks find everything imported
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)
