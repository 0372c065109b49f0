"""The vectors of an index, row by row, in the form in which a Qdrant server compares them.

A dot product with any of them gives the score that the index itself would:

- *dense*: as they are stored, of unit length where the metric is cosine.
- *sparse*: what each term adds to the score of its passage. BM25 depends on the number of passages,
  on how many hold a term and on their mean length; these are taken over the live passages of the
  generation that is pushed, and frozen with it. The weight of a term in a query is how often it
  is there, so what changes in the index reaches the server with the next push, never in part.
- *multivector*: the pooled token vectors, as finely as they are kept, in single precision; those
  of few bits in the space of their codes, into which a query's are brought, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ragib.config import Kind
from ragib.indexes.snapshot import Snapshot

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Terms:
    """One row's terms: numbers `(t,)` ascending, and their weights `(t,)` float32."""

    numbers: NDArray[np.int64]
    weights: Matrix


@dataclass(frozen=True, slots=True)
class Exported:
    """One kind of an index.

    `width` is the number of dimensions (0 of sparse vectors), `terms` the text of every term,
    `row` returns a row's vector: `(d,)` float32, `(v, d)` float32 or `Terms`; a row of no vectors
    or no terms has length 0.
    """

    width: int
    terms: Sequence[str]
    row: Callable[[int], Any]


def export(snapshot: Snapshot, kind: Kind) -> Exported:
    """Open one kind of an index for reading its vectors.

    Sparse vectors are turned from terms to rows in memory, at some 30 bytes a posting; the others
    are read from disk as they are asked for.
    """
    match kind:
        case "dense":
            return _dense(snapshot)
        case "multivector":
            return _multivector(snapshot)
        case "sparse":
            return _sparse(snapshot)


def _dense(snapshot: Snapshot) -> Exported:
    from ragib.indexes.dense import DenseSearcher

    searcher = cast(DenseSearcher, snapshot.searcher("dense"))
    segments = searcher.segments

    def row(number: int) -> Matrix:
        at = _segment(snapshot, number)
        vector: Matrix = segments[at].vectors[number - segments[at].start]
        return vector

    return Exported(max((s.vectors.shape[1] for s in segments), default=0), (), row)


def _multivector(snapshot: Snapshot) -> Exported:
    from ragib.indexes import packed
    from ragib.indexes.codes import BITS

    snapshot.engine("multivector")  # refuses files of another form
    storage = snapshot.manifest.config.multivector.storage
    parts = [packed.read(folder / "multivector", storage) for folder in snapshot.folders]
    ends = [np.concatenate([[0], np.cumsum(part.counts)]) for part in parts]
    places = [np.argsort(part.rows) for part in parts]

    def row(number: int) -> Matrix:
        at = _segment(snapshot, number)
        part, place = parts[at], int(places[at][number - int(snapshot.offsets[at])])
        lines = slice(int(ends[at][place]), int(ends[at][place + 1]))
        return part.vectors(lines, np.repeat(part.scales[place], lines.stop - lines.start))

    widths = [8 * part.codes.shape[1] // BITS[storage] for part in parts]
    return Exported(max(widths, default=0), (), row)


def _sparse(snapshot: Snapshot) -> Exported:
    from ragib.indexes.sparse import SparseSearcher

    searcher = cast(SparseSearcher, snapshot.searcher("sparse"))
    postings, weights = searcher.postings, _weights(searcher, int(snapshot.alive.sum()))
    order = np.argsort(postings.rows, kind="stable")
    df = np.diff(postings.indptr)
    numbers = np.repeat(np.arange(len(df), dtype=np.int64), df)[order]
    sorted_weights = np.asarray(weights, np.float32)[order]
    held = np.bincount(postings.rows, minlength=len(snapshot.alive))
    ends = np.concatenate([[0], np.cumsum(held)])

    def row(number: int) -> Terms:
        here = slice(int(ends[number]), int(ends[number + 1]))
        counts = sorted_weights[here] > 0
        return Terms(numbers[here][counts], sorted_weights[here][counts])

    return Exported(0, postings.terms, row)


def _weights(searcher: Any, live: int) -> NDArray[Any]:  # noqa: ANN401
    """Return what each posting adds to the score of its row."""
    from ragib.indexes.bm25 import bm25_weights

    postings, config = searcher.postings, searcher.engine.config
    if config.engine == "learned":
        weights: NDArray[Any] = postings.values
        return weights
    weights = bm25_weights(postings, live, config.k1, config.b)
    if config.engine == "rank-bm25":  # another idf, and all scores k1 + 1 times as large
        df = np.diff(postings.indptr)
        odds = (live - df + 0.5) / (df + 0.5)
        ratio = np.maximum(np.log(odds), 0) / np.log1p(odds) * (config.k1 + 1)
        weights = weights * np.repeat(ratio, df)
    return weights


def _segment(snapshot: Snapshot, row: int) -> int:
    return int(np.searchsorted(snapshot.offsets, row, side="right")) - 1
