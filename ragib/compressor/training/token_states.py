"""Token vectors of texts, computed once and kept in a file, for a head that is trained on them.

The encoder is not trained, so its vectors stay the same from update to update: a passage takes it
some ten milliseconds, and reading 100 kB back a few microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.training.loop import Progress
from ragib.encoders import Encoded
from ragib.errors import InputError
from ragib.indexes.durable import require_space
from ragib.indexes.resume import digest_of
from ragib.text import batched

Text = TypeVar("Text", str, tuple[str, str])

ROOM = 6 << 30
"""Bytes of vectors that a training may keep."""

_TOGETHER = 256


@dataclass(frozen=True, slots=True)
class TokenStates:
    """The token vectors of `n` texts, one text after another.

    `vectors` is `(t, d)` float16, mapped from a file, and text `i` has rows `ends[i]` to
    `ends[i + 1]` of it; `ends` is `(n + 1,)` int64.
    """

    vectors: NDArray[np.float16]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.ends) - 1

    def __getitem__(self, text: int) -> NDArray[np.float32]:
        """Return the token vectors of a text, `(t, d)` float32."""
        return np.asarray(self.vectors[self.ends[text] : self.ends[text + 1]], np.float32)


def token_states(
    texts: Sequence[Text],
    encode: Callable[[Sequence[Text]], Encoded],
    revision: str,
    path: Path,
    progress: Progress,
) -> TokenStates:
    """Encode texts into a file, or open the file if they have been encoded.

    Parameters
    ----------
    texts
        What to encode.
    encode
        Returns their token vectors.
    revision
        Says which encoder that is.
    path
        The file, of bare float16 values; beside it, as JSON, the counts and what they are of.
    progress
        Called with the file's name, texts done, texts in all.

    Raises
    ------
    InputError
        The vectors would take more than `ROOM`.
    IndexDirError
        They would take more than there is on the disk.
    """
    note = path.with_suffix(".json")
    key = digest_of([revision, list(texts)])
    if not _made_of(note, key):
        path.parent.mkdir(parents=True, exist_ok=True)
        part, aside = path.with_suffix(".part"), path.with_suffix(".json.part")
        try:
            width, counts = _write(texts, encode, part, progress)
            aside.write_text(json.dumps({"of": key, "width": width, "counts": counts}) + "\n")
            part.replace(path)
            aside.replace(note)
        finally:
            part.unlink(missing_ok=True)
            aside.unlink(missing_ok=True)
    known: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    ends = np.cumsum([0, *known["counts"]], dtype=np.int64)
    shape = (int(ends[-1]), int(known["width"]))
    if shape[0] == 0:
        return TokenStates(np.zeros(shape, np.float16), ends)
    return TokenStates(np.memmap(path, np.float16, "r", shape=shape), ends)


def _write(
    texts: Sequence[Text],
    encode: Callable[[Sequence[Text]], Encoded],
    path: Path,
    progress: Progress,
) -> tuple[int, list[int]]:
    """Write the vectors; returns their width, and how many each text has."""
    counts: list[int] = []
    width, size = 0, 0
    with path.open("wb") as file:
        for batch in batched(texts, _TOGETHER):
            progress(path.stem, len(counts), len(texts))
            for entry in encode(batch).tokens or ():
                width = entry.vectors.shape[1]
                size += file.write(entry.vectors.astype(np.float16).tobytes())
                counts.append(len(entry.vectors))
            expected = size * len(texts) // len(counts)
            if expected > ROOM:
                raise InputError(
                    f"{path.parent}: the token vectors of {len(texts):,} texts take "
                    f"{expected / 2**30:.1f} GiB, more than the {ROOM >> 30} GiB that are kept; "
                    "train on fewer questions"
                )
            require_space(path.parent, expected - size)
    return width, counts


def _made_of(note: Path, key: str) -> bool:
    try:
        return bool(json.loads(note.read_text(encoding="utf-8"))["of"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False
