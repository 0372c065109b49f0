"""Files of a multi-vector part: coded vectors, packed without padding.

    codes.npy      (t, w)         vectors, passage after passage; see `ragib.indexes.codes`
    residual.npy   (t, 3d / 8)    three finer bits a value, if results are rescored
    scales.npy     (n,) float32   one scale a passage
    table.npy      (n, 4) uint32  row of the passage, its vectors, its tokens, bytes of those
    tokens.npy     (b,) uint8     the tokens of each passage; see `ragib.indexes.places`

Passages are stored in the order of their vector counts, then of their rows, which is what search
works on; `table` says which row each of them is. A token's vector is counted within its passage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.config import TokenStorage
from ragib.indexes.base import Mask
from ragib.indexes.codes import decode, encode
from ragib.indexes.places import pack_places, unpack_places

Array = NDArray[Any]

_VECTORS, _TOKENS, _BYTES = 1, 2, 3
"""Columns of the table."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The coded vectors of `n` passages; arrays as in the files."""

    storage: TokenStorage
    codes: Array
    residual: NDArray[np.uint8] | None
    scales: NDArray[np.float32]
    table: NDArray[np.uint32]
    tokens: NDArray[np.uint8]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row of each stored passage, `(n,)`."""
        return self.table[:, 0].astype(np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Vectors of each stored passage, `(n,)`, never falling."""
        return self.table[:, _VECTORS].astype(np.int64)

    def vectors(self, lines: slice, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give back the vectors of `lines`, whose passages have `scales`; see `codes.decode`."""
        finer = None if self.residual is None else self.residual[lines]
        return decode(self.codes[lines], finer, scales, self.storage)

    def spans(self, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the vector number `(m,)` and the span `(m, 2)` of each token of a passage."""
        first = int(self.table[:position, _BYTES].sum(dtype=np.int64))
        size, count = int(self.table[position, _BYTES]), int(self.table[position, _TOKENS])
        return unpack_places(self.tokens[first : first + size], count)


def pack(
    vectors: Sequence[NDArray[np.float32]],
    labels: Sequence[NDArray[np.int64]],
    spans: Sequence[NDArray[np.int32]],
    storage: TokenStorage,
    *,
    finer: bool,
) -> Packed:
    """Code the pooled vectors of the passages of a batch, given in the order of their rows.

    Parameters
    ----------
    vectors
        `(v, d)` float32 a passage; at least one passage.
    labels
        `(m,)` the vector of each token.
    spans
        `(m, 2)` the characters of each token, `(-1, -1)` for those without a place.
    storage
        Form of the codes.
    finer
        Keep the residual bits as well.
    """
    counts = np.array([len(entry) for entry in vectors], np.int64)
    order = np.argsort(counts, kind="stable")
    coded = encode(np.concatenate([vectors[i] for i in order]), counts[order], storage, finer=finer)
    places = [pack_places(labels[i], spans[i]) for i in order]
    lengths = np.array([len(entry) for entry in labels], np.int64)[order]
    sizes = [len(entry) for entry in places]
    return Packed(
        storage=storage,
        codes=coded.codes,
        residual=coded.residual,
        scales=coded.scales,
        table=np.stack([order, counts[order], lengths, sizes], axis=1).astype(np.uint32),
        tokens=np.concatenate(places),
    )


def write(packed: Packed, out: Path) -> None:
    """Write a part into an empty folder."""
    for name in ("codes", "residual", "scales", "table", "tokens"):
        array = getattr(packed, name)
        if array is not None:
            np.save(out / f"{name}.npy", array, allow_pickle=False)


def read(folder: Path, storage: TokenStorage) -> Packed:
    """Map the files of a part; nothing but the small table is read.

    Raises
    ------
    ValueError
        The files do not fit each other: compiled loops, which check nothing, must not see them.
    """
    finer = folder / "residual.npy"
    packed = Packed(
        storage=storage,
        codes=_map(folder / "codes.npy"),
        residual=_map(finer) if finer.exists() else None,
        scales=np.load(folder / "scales.npy", allow_pickle=False),
        table=np.load(folder / "table.npy", allow_pickle=False),
        tokens=_map(folder / "tokens.npy"),
    )
    _check(packed, folder)
    return packed


def _check(packed: Packed, folder: Path) -> None:
    table, counts = packed.table, packed.counts
    lines = [packed.codes] if packed.residual is None else [packed.codes, packed.residual]
    if not (
        table.shape == (len(packed.scales), 4)
        and np.array_equal(np.sort(table[:, 0]), np.arange(len(table)))
        and (counts[1:] >= counts[:-1]).all()
        and all(array.ndim == 2 and len(array) == counts.sum() for array in lines)
        and len(packed.tokens) == table[:, _BYTES].sum(dtype=np.int64)
    ):
        raise ValueError(f"{folder}: its files do not fit each other")


def _map(path: Path) -> Array:
    # Mapped for private writing because torch warns about memory it must not write to; nothing
    # ever writes, so processes go on sharing the pages.
    array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def merge(
    folders: Sequence[Path], keep: Sequence[Mask | None], storage: TokenStorage, out: Path
) -> None:
    """Write the kept rows of parts as one part; memory stays below one part's passages.

    Rows are numbered anew: those of the first part that are kept, then those of the second.
    """
    parts = [read(folder, storage) for folder in folders]
    tables, sources = [], []
    base = 0
    for number, (part, flags) in enumerate(zip(parts, keep, strict=True)):
        kept = np.ones(len(part.rows), np.bool_) if flags is None else flags
        renumbered = (np.cumsum(kept) - 1 + base).astype(np.uint32)
        positions = np.flatnonzero(kept[part.rows])
        table = part.table[positions].copy()
        table[:, 0] = renumbered[table[:, 0]]
        tables.append(table)
        sources.append(np.stack([np.full(len(positions), number), positions], axis=1))
        base += int(kept.sum())
    table = np.concatenate(tables)
    order = np.lexsort((table[:, 0], table[:, 1]))
    table, source = table[order], np.concatenate(sources)[order]
    np.save(out / "table.npy", table, allow_pickle=False)
    scales = [part.scales for part in parts]
    np.save(
        out / "scales.npy",
        np.array([scales[p][i] for p, i in source], np.float32),
        allow_pickle=False,
    )
    vectors, size = (int(table[:, c].sum(dtype=np.int64)) for c in (_VECTORS, _BYTES))
    runs = _Runs(folders, parts, source)
    width = max(part.codes.shape[1] for part in parts)
    _stream(out / "codes.npy", parts[0].codes.dtype, (vectors, width), runs.of("codes", _VECTORS))
    if all(part.residual is not None for part in parts):
        fine = max(part.residual.shape[1] for part in parts if part.residual is not None)
        lines = runs.of("residual", _VECTORS)
        _stream(out / "residual.npy", np.dtype(np.uint8), (vectors, fine), lines)
    _stream(out / "tokens.npy", np.dtype(np.uint8), (size,), runs.of("tokens", _BYTES))


class _Runs:
    """Runs of passages that lie side by side in a part, in the order of the merged one."""

    def __init__(
        self, folders: Sequence[Path], parts: Sequence[Packed], source: NDArray[np.int64]
    ) -> None:
        self._folders = folders
        self._parts = parts
        breaks = np.flatnonzero((np.diff(source, axis=0) != [0, 1]).any(axis=1)) + 1
        edges = [0, *breaks.tolist(), len(source)] if len(source) else []
        self._runs = [
            (int(source[a, 0]), int(source[a, 1]), int(source[b - 1, 1]) + 1)
            for a, b in pairwise(edges)
        ]

    def of(self, name: str, column: int) -> Iterator[Array]:
        """Read the runs of one file; `column` of the table counts its lines a passage."""
        ends = [
            np.concatenate([[0], np.cumsum(part.table[:, column], dtype=np.int64)])
            for part in self._parts
        ]
        for part, first, last in self._runs:
            lines: Array = getattr(self._parts[part], name)
            start, stop = int(ends[part][first]), int(ends[part][last])
            if stop > start:
                yield _slice(self._folders[part] / f"{name}.npy", lines, start, stop)


def _slice(path: Path, mapped: Array, start: int, stop: int) -> Array:
    # Read, not mapped: pages of a mapping would stay in the memory of the build.
    assert isinstance(mapped, np.memmap)
    width = int(np.prod(mapped.shape[1:]))
    skip = mapped.offset + start * width * mapped.itemsize
    lines = np.fromfile(path, mapped.dtype, (stop - start) * width, offset=skip)
    return lines.reshape(-1, *mapped.shape[1:])


def _stream(path: Path, dtype: Any, shape: tuple[int, ...], chunks: Iterable[Array]) -> None:  # noqa: ANN401
    """Write an array chunk by chunk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype).data)
