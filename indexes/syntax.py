"""Questions with operators, for those who ask for them.

    "pool factor" token -gpu +index cluster^3

A phrase in double quotes must stand in a passage as it is, a word or phrase behind `+` must be in
it, one behind `-` must not, and `^n` counts what is before it n times. Questions in plain language
are full of quotes and hyphens that mean none of this, so that nothing is read in this way unless
the search says so (`retriever.syntax`, `ragib search --syntax`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ragib.errors import InputError

_MOST = 99
_QUOTES = str.maketrans("“”„", '"""')
_PIECE = re.compile(r'\s*([+-]?)(?:"([^"]*)"|([^\s"]+?))(?:\^(\S*))?(?=\s|$)')
_BOOST = re.compile(r"[1-9]\d?")
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question with operators asks for.

    `text` is what passages are ranked by, boosted pieces repeated; every piece of `required` must
    be in a passage and no piece of `excluded`, each of them one word or a phrase.
    """

    text: str
    required: tuple[str, ...]
    excluded: tuple[str, ...]


def parse(question: str) -> Asked:
    """Read a question with operators.

    Raises
    ------
    InputError
        It cannot be read, or leaves nothing to search for; the message says where and why.
    """
    wanted: list[str] = []
    required: list[str] = []
    excluded: list[str] = []
    text, place = question.translate(_QUOTES).rstrip(), 0
    while place < len(text):
        found = _PIECE.match(text, place)
        if found is None:
            raise InputError(
                f"syntax: {text[place:].strip()!r} cannot be read; quotes come in pairs, with a "
                "space before and after, and a word or phrase follows + or -"
            )
        place = found.end()
        sign, phrase, word, boost = found.groups()
        piece = word if phrase is None else phrase
        if (sign or phrase is not None) and not WORD.search(piece):
            raise InputError(f"syntax: there is no word in {found[0].strip()!r}")
        if boost is not None and (sign == "-" or not _BOOST.fullmatch(boost)):
            raise InputError(
                f"syntax: {found[0].strip()!r}: a boost is a whole number from 1 to {_MOST}, "
                "behind something that is wanted"
            )
        if sign == "-":
            excluded.append(piece)
            continue
        wanted += [piece] * int(boost or 1)
        if sign or phrase is not None:
            required.append(piece)
    if not wanted:
        raise InputError(f"syntax: {question!r} says what to leave out, and nothing to search for")
    return Asked(" ".join(wanted), tuple(required), tuple(excluded))
