"""One case after another, each within its bounds; what is wrong comes out with its input."""

from __future__ import annotations

import itertools
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ragib.errors import RagibError
from tests.fuzz.mutate import mutate

SECONDS = 10.0
"""Processor time a case may take."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser: `seeds` are valid files, `read` is given the path of one and reads it.

    A mutated file must make it raise a `RagibError` or return.
    """

    name: str
    seeds: Sequence[bytes]
    read: Callable[[Path], object]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a target raised, of which case, and the input."""

    target: str
    case: int
    error: str
    data: bytes


class _TooSlow(BaseException):
    """A case took more processor time than it may."""


def case(target: Target, seed: int, number: int) -> bytes:
    """Return the input of a case: the same for the same seed, target and number."""
    rng = Random(f"{seed}/{target.name}/{number}")
    data = rng.choice(target.seeds)
    return data if number == 0 else mutate(data, rng, target.seeds)


def run_case(target: Target, seed: int, number: int, folder: Path) -> Failure | None:
    """Run one case; `folder` gets the file."""
    data = case(target, seed, number)
    path = folder / f"input{target.suffix}"
    path.write_bytes(data)
    try:
        with _limited():
            target.read(path)
    except RagibError:
        return None
    except (Exception, _TooSlow):
        return Failure(target.name, number, traceback.format_exc(), data)
    return None


def run(
    targets: Sequence[Target],
    seed: int,
    seconds: float,
    folder: Path,
    start: int = 0,
    before: Callable[[str, int], None] = lambda name, number: None,
) -> Iterator[Failure | None]:
    """Run cases of all targets in turn until the time is over; yield what came of each.

    `start` counts the cases of all targets together; `before` is called with the target and the
    number of every case.
    """
    end = time.monotonic() + seconds
    for count in itertools.count(start):
        if time.monotonic() >= end:
            return
        target, number = targets[count % len(targets)], count // len(targets)
        before(target.name, number)
        yield run_case(target, seed, number, folder)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
