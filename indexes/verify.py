"""Reading an index again, every byte, and telling what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from ragib.errors import IndexCorruptError
from ragib.indexes.passages import NAME, PassageReader
from ragib.indexes.store import check_files, pin


def verify(path: str | Path) -> list[str]:
    """Check `CURRENT`, the manifest, every file's size and SHA-256, and the passages' tables.

    Returns
    -------
    list
        What is wrong, one line a problem; empty for a sound index.

    Raises
    ------
    IndexDirError
        There is no index, or it has a format that this version cannot read.
    """
    root = Path(path)
    try:
        manifest, descriptor = pin(root)
    except IndexCorruptError as error:
        return [str(error)]
    try:
        problems = list(check_files(root, manifest, whole=True))
        if problems:
            return problems
        for segment in manifest.segments:
            reader = PassageReader(root / "segments" / segment.id / NAME)
            problems += reader.problems()
            if not problems:
                counts = (len(reader.document_ids()), int(reader.documents.count.sum()))
                if counts != (segment.documents, segment.passages):
                    problems.append(
                        f"{reader.path}: it holds {counts[0]:,} documents and {counts[1]:,} "
                        f"passages, not {segment.documents:,} and {segment.passages:,}"
                    )
            reader.close()
        return problems
    finally:
        os.close(descriptor)
