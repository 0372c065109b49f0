"""Text to index terms: lower-case words without stop words, stemmed.

A word is two or more word characters, or one digit ("type 2 diabetes", "Python 3"); the rule of
bm25s, which keeps no single character, plus the digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import Stemmer

from ragib.errors import ConfigError, did_you_mean

VERSION = "word2-digit1/snowball"
"""Recorded in the manifest: terms of another version do not match."""

_WORD = re.compile(r"\w\w+|\d")
_DISTINCT_WORDS = 1 << 20
_STOP_WORDS = {
    "danish": "DANISH",
    "dutch": "DUTCH",
    "english": "EN",
    "french": "FRENCH",
    "german": "GERMAN",
    "italian": "ITALIAN",
    "norwegian": "NORWEGIAN",
    "portuguese": "PORTUGUESE",
    "russian": "RUSSIAN",
    "spanish": "SPANISH",
    "swedish": "SWEDISH",
    "turkish": "TURKISH",
}
"""Language -> the name of its list in bm25s."""
_CODES = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian",
    "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
    "yi": "yiddish",
}  # fmt: skip
"""Code of ISO 639-1 -> language."""


def terms(text: str, language: str) -> list[str]:
    """Return the index terms of a text in its order, with repetitions.

    Parameters
    ----------
    text
        Any text.
    language
        A Snowball stemmer (`english`, `german`, ...) or the code of its language (`en`, `de`), or
        `none` to keep every word as it is. Stop words are removed in the languages that have a
        list: Danish, Dutch, English, French, German, Italian, Norwegian, Portuguese, Russian,
        Spanish, Swedish and Turkish.

    Raises
    ------
    ConfigError
        The language is not known.
    """
    term_of = _term_of(language)
    return [term for word in _WORD.findall(text.lower()) if (term := term_of(word)) is not None]


def check_language(language: str) -> None:
    """Raise `ConfigError` when `terms` does not know the language."""
    _term_of(language)


@lru_cache(maxsize=8)
def _term_of(language: str) -> Callable[[str], str | None]:
    if language == "none":
        return _unchanged
    language = _CODES.get(language, language)
    known = ["none", *Stemmer.algorithms()]
    if language not in known:
        raise ConfigError(
            f"index.sparse.language: {language!r} is not known{did_you_mean(language, known)}; "
            f"choose one of {', '.join(known)}"
        )
    # The cache of words below is far larger than the stemmer's own.
    stem = Stemmer.Stemmer(language, 0).stemWord
    stop = _stop_words(language)

    @lru_cache(maxsize=_DISTINCT_WORDS)
    def term_of(word: str) -> str | None:
        return None if word in stop else stem(word)

    return term_of


def _stop_words(language: str) -> frozenset[str]:
    """Read the list of a language out of bm25s, and leave the rest of it alone.

    Importing the package takes a third of a second, for it imports numba and SciPy.
    """
    if language not in _STOP_WORDS:
        return frozenset()
    package = find_spec("bm25s")
    assert package is not None and package.origin is not None
    lists = run_path(str(Path(package.origin).with_name("stopwords.py")))
    return frozenset(lists[f"STOPWORDS_{_STOP_WORDS[language]}"])


def _unchanged(word: str) -> str | None:
    return word
