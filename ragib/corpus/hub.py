"""Data sets of a hub, by name, through the `datasets` package.

The name is `hub:OWNER/NAME`, with `/CONFIG` behind it where the set has several and `:SPLIT` for
another split than is usual, as in `hub:hotpotqa/hotpot_qa/distractor:validation`.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from ragib.errors import InputError
from ragib.extras import refuse_offline, require
from ragib.text import one_line

HUB = "hub:"
"""What the name of a hub data set begins with."""

_FORM = f"{HUB}OWNER/NAME[/CONFIG][:SPLIT]"
_NAME = re.compile(
    rf"{HUB}(?P<set>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?(?::(?P<split>\S+))?"
)


def hub_rows(name: str, split: str) -> tuple[str, Any]:
    """Fetch the rows of a hub data set.

    Parameters
    ----------
    name
        `hub:OWNER/NAME[/CONFIG][:SPLIT]`.
    split
        Such as `test` or `train[:10%]`; taken where the name has none.

    Returns
    -------
    tuple
        `OWNER/NAME`, and the rows: mappings by column, whose names are `column_names`.

    Raises
    ------
    InputError
        There is no such data set or split.
    OfflineError
        The network is switched off.
    MissingExtraError
        `datasets` is not installed.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name}: expected {_FORM}")
    place, config, split = match["set"], match["config"], match["split"] or split
    refuse_offline(f"fetching the data set {place}")
    library = require("datasets", "reading a data set of a hub")
    if not sys.stderr.isatty():
        library.disable_progress_bars()
    failures = (library.exceptions.DatasetsError, OSError, ValueError, RuntimeError)
    try:
        # Since its fourth version the package runs no code that comes with a data set.
        return place, library.load_dataset(place, config, split=split)
    except failures as error:
        raise InputError(f"{name}, split {split}: {one_line(str(error))}") from None
