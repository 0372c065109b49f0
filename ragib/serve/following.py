"""Following an index: what was added, deleted or compacted since is served without a restart."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from ragib.errors import RagibError
from ragib.indexes.index import Index

SECONDS = 1.0
"""Between two looks at which generation is current."""

_PAUSE = 60.0
"""Seconds without a look after a generation that could not be opened."""

_log = logging.getLogger(__name__)


class Follower:
    """Keeps an index at its current generation; of one event loop."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._looking = False
        self._next = monotonic() + SECONDS

    async def follow(self) -> None:
        """Move the index on if it is time to look and another generation is current.

        Requests that come meanwhile do not wait, and are answered from the generation there is. So
        are all, with a warning in the log, if the new one cannot be opened.
        """
        if self._looking or monotonic() < self._next:
            return
        self._looking, pause = True, SECONDS
        try:
            await asyncio.to_thread(self._index.follow)
        except RagibError as error:
            _log.warning("the index is served as it was: %s", error)
            pause = _PAUSE
        finally:
            self._looking, self._next = False, monotonic() + pause
