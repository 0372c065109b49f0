"""Errors a user can do something about.

Each says what was wrong, where, with which value, and what to do. The command line prints the
message on one line and exits with `exit_code`; a library user catches `RagibError`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RagibError(Exception):
    """Base of all errors ragib raises on purpose."""

    exit_code = 1


class InputError(RagibError):
    """The caller's input cannot be used: a file, a value, a question."""

    exit_code = 2


class CorpusError(InputError):
    """A corpus, or one record of it, cannot be read."""


class ConfigError(InputError):
    """A configuration key or value is wrong."""


class MissingExtraError(RagibError):
    """An optional part is not installed; the message holds the pip line."""


class IndexDirError(RagibError):
    """An index directory cannot be opened or written."""


class IndexCorruptError(IndexDirError):
    """A file of an index is not what its manifest says."""


class IndexLockedError(IndexDirError):
    """Another process is writing to the index."""


class StoreError(RagibError):
    """A vector database cannot be reached, refuses, or holds something else than expected."""


class OfflineError(RagibError):
    """Something needs the network and the network is switched off."""


class GenerationError(RagibError):
    """A generator could not answer."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the nearest known word, or an empty string."""
    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
