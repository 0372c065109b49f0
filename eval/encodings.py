"""An encoder that remembers: indexes that differ only in pooling encode their passages once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ragib.encoders import Encoded, Encoder, TokenVectors
from ragib.eval.cache import key_of

ROOM = 4 << 30
"""Bytes of encoded passages kept at most, some 17,000 passages of 150 tokens of 384 numbers."""

_QUESTIONS = 5000

_Question = tuple[NDArray[np.float32] | None, TokenVectors | None]


class RememberingEncoder:
    """Gives what another encoder gives, and keeps it.

    Parameters
    ----------
    encoder
        Who does the work.
    folder
        Where encoded passages are kept; `None` keeps none. Questions are kept in memory.
    room
        Bytes of passages that are kept; what comes later is encoded again.
    """

    def __init__(self, encoder: Encoder, folder: Path | None = None, room: int = ROOM) -> None:
        self.name = encoder.name
        self.revision = encoder.revision
        self.dense_dim = encoder.dense_dim
        self.token_dim = encoder.token_dim
        self.trained_projection = encoder.trained_projection
        self.spared = 0.0
        """Seconds that encoding the passages anew would have taken."""
        self._encoder = encoder
        self._folder = folder
        self._room = room
        self._seconds: dict[str, float] = {}
        self._questions: dict[tuple[str, bool, bool], _Question] = {}

    def passages(self, texts: Sequence[tuple[str, str]], *, dense: bool, tokens: bool) -> Encoded:
        """Encode `(title, text)` pairs, or read what was made of the same ones before."""
        if self._folder is None:
            return self._encoder.passages(texts, dense=dense, tokens=tokens)
        key = key_of(texts, dense, tokens)
        path = self._folder / f"{key}.safetensors"
        if key in self._seconds:
            self.spared += self._seconds[key]
            return _read(path)
        begin = time.perf_counter()
        encoded = self._encoder.passages(texts, dense=dense, tokens=tokens)
        seconds = time.perf_counter() - begin
        size = _size(encoded)
        if size <= self._room:
            with suppress(OSError):  # a full disk costs time, not the run
                _write(encoded, path)
                self._room -= size
                self._seconds[key] = seconds
        return encoded

    def queries(self, texts: Sequence[str], *, dense: bool, tokens: bool) -> Encoded:
        """Encode questions, those that are new."""
        new = [
            text for text in dict.fromkeys(texts) if (text, dense, tokens) not in self._questions
        ]
        if len(self._questions) + len(new) > _QUESTIONS:
            return self._encoder.queries(texts, dense=dense, tokens=tokens)
        if new:
            encoded = self._encoder.queries(new, dense=dense, tokens=tokens)
            for i, text in enumerate(new):
                self._questions[text, dense, tokens] = (
                    None if encoded.dense is None else encoded.dense[i],
                    None if encoded.tokens is None else encoded.tokens[i],
                )
        rows = [self._questions[text, dense, tokens] for text in texts]
        return Encoded(
            np.stack([row for row, _ in rows if row is not None]) if dense and rows else None,
            [row for _, row in rows if row is not None] if tokens else None,
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count the tokens of each text."""
        return self._encoder.count_tokens(texts)


def _size(encoded: Encoded) -> int:
    size = 0 if encoded.dense is None else encoded.dense.nbytes
    return size + sum(t.vectors.nbytes + t.spans.nbytes for t in encoded.tokens or ())


def _write(encoded: Encoded, path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    if encoded.dense is not None:
        arrays["dense"] = encoded.dense
    if encoded.tokens is not None:
        arrays["counts"] = np.array([len(t.spans) for t in encoded.tokens], np.int64)
        if encoded.tokens:
            arrays["vectors"] = np.concatenate([t.vectors for t in encoded.tokens])
            arrays["spans"] = np.concatenate([t.spans for t in encoded.tokens])
    save_file(arrays, path)


def _read(path: Path) -> Encoded:
    arrays = load_file(path)
    dense = arrays.get("dense")
    if "counts" not in arrays:
        return Encoded(dense, None)
    if not len(arrays["counts"]):
        return Encoded(dense, [])
    cuts = np.cumsum(arrays["counts"])[:-1]
    vectors, spans = np.split(arrays["vectors"], cuts), np.split(arrays["spans"], cuts)
    return Encoded(dense, [TokenVectors(v, s) for v, s in zip(vectors, spans, strict=True)])
