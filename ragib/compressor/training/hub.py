"""Training data by name: a file of records, or a data set of a hub.

A hub data set is named `hub:OWNER/NAME`, with `/CONFIG` behind it where it has several and
`:SPLIT` where the split is not `train`, as in `hub:hotpotqa/hotpot_qa/distractor:validation`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record, read_records
from ragib.compressor.training.rows import records_of
from ragib.errors import InputError
from ragib.extras import refuse_offline, require

HUB = "hub:"
"""What the name of a hub data set begins with."""

_PURPOSE = "reading a data set of a hub"


def read_source(
    name: str | Path, sources: Sequence[str] = (), progress: Progress | None = None
) -> list[Record]:
    """Read the records of a file, or of a hub data set.

    Parameters
    ----------
    name
        A file of records, or `hub:OWNER/NAME[/CONFIG][:SPLIT]`.
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
    return [r for r in read_hub(str(name), progress) if not sources or r.source in sources]


def read_hub(name: str, progress: Progress | None = None) -> list[Record]:
    """Read a hub data set; see `read_source`."""
    place, _, split = name.removeprefix(HUB).partition(":")
    parts = place.split("/")
    if not all(parts) or len(parts) > 3:
        raise InputError(f"{name}: expected {HUB}OWNER/NAME[/CONFIG][:SPLIT]")
    refuse_offline(f"fetching the data set {place}")
    library = require("datasets", _PURPOSE)
    errors = require("datasets.exceptions", _PURPOSE)
    if not sys.stderr.isatty():
        library.disable_progress_bars()
    source = "/".join(parts[:2])
    try:
        # Since its fourth version the package runs no code that comes with a data set.
        rows = library.load_dataset(source, *parts[2:], split=split or "train")
    except (OSError, ValueError, RuntimeError, errors.DatasetsError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: {reason}") from None
    return records_of(rows, rows.column_names, source, progress)
