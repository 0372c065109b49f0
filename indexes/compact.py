"""Merging all segments of a generation into one, without what was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragib.indexes.build import Progress, merge_parts, new_segment, place_segment
from ragib.indexes.manifest import SegmentRecord
from ragib.indexes.passage_writer import PassageWriter
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.snapshot import Snapshot
from ragib.types import Document, Passage


def compact_segments(
    root: Path, generation: int, old: Snapshot, progress: Progress
) -> SegmentRecord:
    """Write one segment with all that is live in `old`; rows keep their order. Not committed."""
    folder = new_segment(root)
    keep = old.alive_by_segment()
    kinds = old.manifest.config.kinds
    with PassageWriter(folder / NAME) as writer:
        for reader, alive in zip(old.passages, keep, strict=True):
            for document, passages in _documents(reader, alive):
                writer.add(document, passages)
    for number, kind in enumerate(kinds):
        progress("compact", number, len(kinds))
        merge_parts(old.engine(kind), [part / kind for part in old.folders], keep, folder / kind)
    progress("compact", len(kinds), len(kinds))
    return place_segment(
        root, f"{generation:06d}", writer.documents, writer.passages, writer.restricted
    )


def _documents(
    reader: PassageReader, alive: NDArray[np.bool_]
) -> Iterator[tuple[Document, list[Passage]]]:
    for id_, group in groupby(reader.live(alive), lambda passage: passage.doc_id):
        passages = list(group)
        first = passages[0]
        yield Document(id_, "", first.title, first.metadata, first.access), passages
