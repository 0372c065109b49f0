"""Stop strings: an answer ends before the first of them, for engines that do not see to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def ends_at(text: str, stop: Sequence[str]) -> int | None:
    """Return where the first stop string in a text begins, if there is one."""
    return min((place for word in stop if (place := text.find(word)) >= 0), default=None)


def until(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield pieces of text up to the first stop string; what may become one is held back."""
    held = ""
    for piece in pieces:
        held += piece
        end = ends_at(held, stop)
        if end is not None:
            yield held[:end]
            return
        sure = len(held) - _growing(held, stop)
        yield held[:sure]
        held = held[sure:]
    yield held


def _growing(text: str, stop: Sequence[str]) -> int:
    """Return the length of the longest end of a text that begins a stop string."""
    lengths = range(min(len(text), max(map(len, stop), default=0)), 0, -1)
    return next((n for n in lengths if any(word.startswith(text[-n:]) for word in stop)), 0)
