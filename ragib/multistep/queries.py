"""What to search for next without a language model: by the names in question and evidence.

A question over several passages seldom shares words with all of them: one is often about a thing
that only another names. So what the best evidence names, and the question does not, leads on to
it; as in GoldEn (Qi et al. 2019, arXiv:1910.07000), where a trained model picks the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ragib.indexes.terms import terms
from ragib.types import Evidence

SOURCES = 3
"""Pieces of evidence that names are taken from, best first."""

MOST = 8
"""Names in one query."""

_NO_NAME = re.compile(
    "who|whom|whose|what|which|when|where|why|how|did|does|do|has|have|had|can|could|were|i|you|he|"
    "she|we|it|his|her|its|our|your|my|this|that|those|there|both|also|in|on|at|by|for|from|to|as|"
    "if|after|before|during|since|while|although|however",
    re.IGNORECASE,
)
"""English words that begin sentences and name nothing."""

_DATE = re.compile(
    r"(?:\d{1,2} )?\b(?:January|February|March|April|May|June|July|August|September|October|"
    r"November|December) \d{1,4}\b"
)
_WORD = re.compile(r"\w+(?:[.&'\u2019-]\w+)*")
_BETWEEN = re.compile(r" (?:(?:of|the|de|du|la|le|von|van|der) ){0,2}")
_POSSESSIVE = re.compile(r"['\u2019]s$")


def names(text: str) -> list[str]:
    """Return the names in a text, in its order, each once.

    A name is a run of words that begin with a capital letter, but for numbers behind the first, one
    space between them; up to two small words such as "of the" may stand inside, and a full stop
    behind an initial. Dates are no names.
    """
    text = _DATE.sub(";", text)
    spans: list[tuple[int, int]] = []
    last = None
    for word in _WORD.finditer(text):
        number = word[0][0].isdigit()
        if not (word[0][0].isupper() or number) or _NO_NAME.fullmatch(word[0]):
            continue
        gap = text[last.end() : word.start()] if last else ""
        initial = gap in (".", ". ") and last is not None and last[0][-2:-1] in ("", ".")
        if last and (initial or _BETWEEN.fullmatch(gap)):
            spans[-1] = (spans[-1][0], word.end())
        elif number:
            continue
        else:
            spans.append(word.span())
        last = word
    return list(dict.fromkeys(_POSSESSIVE.sub("", text[start:end]) for start, end in spans))


def parts(question: str, language: str) -> tuple[str, ...]:
    """Return the names in a question that hold a term, to be searched for one by one."""
    return tuple(name for name in names(question) if terms(name, language))


def bridges(
    question: str, evidence: Sequence[Evidence], titles: Mapping[str, str], language: str
) -> tuple[str, ...]:
    """Return what to search for next: the question with the names that a piece of evidence adds.

    That is a query for each of the best pieces. Names in the question, or in the title of the
    passage, add nothing. Evidence that adds no name (a script without capitals) is taken as it is.
    Without evidence the question's own `parts` are searched for.

    Parameters
    ----------
    question, evidence
        The question and what is kept for it.
    titles
        Passage id -> title.
    language
        As `ragib.indexes.terms.terms` takes it; names are compared by their terms.
    """
    best = sorted(evidence, key=lambda piece: -piece.score)[:SOURCES]
    if not best:
        return parts(question, language)
    known = set(terms(question, language))
    queries = []
    for piece in best:
        here = known | set(terms(titles.get(piece.passage_id, ""), language))
        added = [name for name in names(piece.text) if not here.issuperset(terms(name, language))]
        queries.append(" ".join([question, *(added[:MOST] or [piece.text])]))
    return tuple(dict.fromkeys(queries))
