"""Whether the disk and the memory will do for a build, asked before the long part of it starts."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ragib.errors import IndexDirError
from ragib.indexes.durable import files_below, require_space
from ragib.indexes.store import BUILD

_CERTAIN = 0.9
"""Predictions err by some per cent: what might fit is not refused."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def check_room(root: Path, building: int, memory: int) -> None:
    """Refuse a build that will not fit.

    Parameters
    ----------
    root
        The index directory; what finished work lies there already is not needed again.
    building
        Predicted bytes of disk space that the build takes while it runs.
    memory
        Predicted bytes of memory beyond what the process holds now.

    Raises
    ------
    IndexDirError
        The disk or the memory is too small; the message says what is needed, what is free and
        what to do.
    """
    done = root / BUILD / "done"
    there = sum(path.stat().st_size for path in files_below(done)) if done.exists() else 0
    require_space(root, round(_CERTAIN * max(building - there, 0)))
    require_memory(root, memory)


def require_memory(root: Path, needed: int) -> None:
    """Raise `IndexDirError` if clearly more bytes are needed than there are free."""
    free = free_memory()
    if free is not None and _CERTAIN * needed > free:
        raise IndexDirError(
            f"{root}: there is not enough memory: the build needs about {needed:,} bytes more and "
            f"{free:,} are free; close other programs, build fewer kinds (--kind), or shorten "
            "index.encoder.max_tokens; the index was not changed"
        )


def free_memory() -> int | None:
    """Return how many bytes this process can still take, `None` where the system does not say.

    The least of what the machine has available and what the limits of the control group, in
    which containers live, leave.
    """
    free = [*_machine(), *_group(_CGROUP)]
    return min(free) if free else None


def held_memory() -> int:
    """Return the most bytes of memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _machine() -> Iterator[int]:
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMINFO.read_text(), re.MULTILINE)
        if found:
            yield int(found[1]) * 1024


def _group(root: Path) -> Iterator[int]:
    names = (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    )
    for limit, usage, stat, cache in names:
        with suppress(OSError, ValueError):  # no such group, or it has no limit ("max")
            most, used = int((root / limit).read_text()), int((root / usage).read_text())
            found = re.search(rf"^{cache} (\d+)$", (root / stat).read_text(), re.MULTILINE)
            # Pages of files that were read are counted as used, and given back when asked for.
            yield max(most - used + (int(found[1]) if found else 0), 0)
