"""Postings: for every term the rows that hold it, and how much of it each row holds.

On disk a folder of `terms.json` (sorted), `indptr.npy` (where the postings of each term begin),
`rows.npy`, `values.npy` and `lengths.npy` (terms a row, repetitions counted). Rows ascend within
a term. Counts are uint16, weights of learned encoders float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Int32s = NDArray[np.int32]
Allocate = Callable[[str, Any, int], NDArray[Any]]
"""Makes an array out of its name, dtype and length."""


@dataclass(frozen=True, slots=True)
class Postings:
    """Postings of `t` terms over `n` rows.

    `indptr` is `(t + 1,)` int64; the postings of term `i` are `rows[indptr[i]:indptr[i + 1]]`
    (int32) with `values` beside them; `lengths` is `(n,)` int32.
    """

    terms: Sequence[str]
    indptr: NDArray[np.int64]
    rows: Int32s
    values: NDArray[Any]
    lengths: Int32s


def write_postings(
    bags: Sequence[Mapping[str, float]], lengths: Sequence[int], dtype: DTypeLike, out: Path
) -> None:
    """Write the postings of rows given as bags of terms.

    Counts beyond what `dtype` holds are written as its largest value: at 65,535 occurrences the
    weight of a term has long been saturated.
    """
    terms = sorted(set().union(*bags))
    number = {term: i for i, term in enumerate(terms)}
    term_ids = np.array([number[term] for bag in bags for term in bag], np.int64)
    rows = np.repeat(np.arange(len(bags), dtype=np.int32), [len(bag) for bag in bags])
    values = np.array([value for bag in bags for value in bag.values()], np.float64)
    if np.issubdtype(np.dtype(dtype), np.integer):
        values = values.clip(max=np.iinfo(np.dtype(dtype)).max)
    order = np.argsort(term_ids, kind="stable")
    _write_terms(terms, out)
    np.save(out / "indptr.npy", _indptr(np.bincount(term_ids, minlength=len(terms))))
    np.save(out / "rows.npy", rows[order])
    np.save(out / "values.npy", values[order].astype(dtype))
    np.save(out / "lengths.npy", np.asarray(lengths, np.int32))


def read_postings(folder: Path) -> Postings:
    """Map the postings of a folder into memory; only the terms are read."""

    def mapped(name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return np.asarray(array)  # the class that NumPy has for maps is slow to cut

    terms = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
    return Postings(terms, mapped("indptr"), mapped("rows"), mapped("values"), mapped("lengths"))


def merge_postings(parts: Sequence[Path], new_rows: Sequence[Int32s], out: Path) -> None:
    """Join the postings of folders into a new folder; arrays are written through the page cache.

    `new_rows` gives for every row of every part its row in the result, or -1 to leave it out.
    """

    def allocate(name: str, dtype: Any, length: int) -> NDArray[Any]:  # noqa: ANN401
        array: NDArray[Any] = np.lib.format.open_memmap(
            out / f"{name}.npy", mode="w+", dtype=dtype, shape=(length,)
        )
        return array

    joined = join(lambda i: read_postings(parts[i]), new_rows, allocate)
    _write_terms(joined.terms, out)


def join(
    part: Callable[[int], Postings],
    new_rows: Sequence[Int32s],
    allocate: Allocate = lambda _, dtype, length: np.zeros(length, dtype),
) -> Postings:
    """Join postings; terms that no row holds any more are left out.

    Parameters
    ----------
    part
        Gives the i-th postings; it is called twice for each, so that they need not all be held.
    new_rows
        For every row of every part its row in the result, or -1 to leave it out; ascending
        within a part and from part to part.
    """
    number: dict[str, int] = {}
    renamed: list[Int32s] = []
    counts: list[Int32s] = []
    dtypes: set[np.dtype[Any]] = {np.dtype(np.uint16)} if not new_rows else set()
    for i, moved in enumerate(new_rows):
        postings = part(i)
        renamed.append(
            np.array([number.setdefault(term, len(number)) for term in postings.terms], np.int32)
        )
        counts.append(_counts(postings, moved))
        dtypes.add(postings.values.dtype)

    total = np.zeros(len(number), np.int64)
    for ids, count in zip(renamed, counts, strict=True):
        total[ids] += count
    kept = sorted(term for term, i in number.items() if total[i])
    order = np.array([number[term] for term in kept], np.int64)
    position = np.full(len(number), -1, np.int64)
    position[order] = np.arange(len(kept))

    indptr = allocate("indptr", np.int64, len(kept) + 1)
    indptr[:] = _indptr(total[order])
    rows = allocate("rows", np.int32, int(indptr[-1]))
    values = allocate("values", np.result_type(*dtypes), int(indptr[-1]))
    size = max((int(moved.max(initial=-1)) for moved in new_rows), default=-1) + 1
    lengths = allocate("lengths", np.int32, size)

    free = np.array(indptr[:-1])
    for i, moved in enumerate(new_rows):
        postings = part(i)
        alive = moved >= 0
        lengths[moved[alive]] = postings.lengths[alive]
        held = counts[i] > 0
        terms, count = position[renamed[i][held]], counts[i][held]
        target = spread(free[terms], count)
        free[terms] += count
        new = moved[postings.rows]
        stays = new >= 0
        rows[target] = new[stays]
        values[target] = postings.values[stays]
    return Postings(kept, indptr, rows, values, lengths)


def spread(starts: NDArray[np.int64], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return `starts[0], starts[0] + 1, ...` (`counts[0]` of them), then those of `starts[1]`."""
    first = np.cumsum(counts) - counts
    positions: NDArray[np.int64] = np.repeat(starts - first, counts) + np.arange(counts.sum())
    return positions


def _counts(postings: Postings, moved: Int32s) -> Int32s:
    stays = np.concatenate(([0], np.cumsum(moved[postings.rows] >= 0)))
    return np.diff(stays[postings.indptr]).astype(np.int32)


def _indptr(counts: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


def _write_terms(terms: Sequence[str], out: Path) -> None:
    (out / "terms.json").write_text(json.dumps(terms), encoding="utf-8")
