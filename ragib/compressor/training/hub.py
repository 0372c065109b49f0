"""Training data by name: a file of records, or a data set of a hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.rows import records_of
from ragib.corpus.hub import HUB, hub_rows


def read_source(
    name: str | Path, sources: Sequence[str] = (), progress: Progress | None = None
) -> list[Record]:
    """Read the records of a file, or of a hub data set.

    Parameters
    ----------
    name
        A file of records, or `hub:OWNER/NAME[/CONFIG][:SPLIT]`, of which the split is else `train`.
    sources
        Which records to take (none: all); those of a hub data set have its `OWNER/NAME` for a
        source.
    progress
        Called with a stage, what is done, and how much there is.

    Raises
    ------
    InputError
        There is no such file, data set or split, or it has another form.
    OfflineError
        A hub data set is named and the network is switched off.
    MissingExtraError
        A hub data set is named and `datasets` is not installed.
    """
    if not str(name).startswith(HUB):
        return list(read_records(Path(name), sources))
    source, rows = hub_rows(str(name), "train")
    found = records_of(rows, rows.column_names, source, progress)
    return [record for record in found if not sources or record.source in sources]
