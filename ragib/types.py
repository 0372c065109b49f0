"""The values that flow from a corpus to an answer; nothing else does.

All offsets are Python string offsets, end exclusive. A `Passage` is a verbatim piece of its
document, `document.text[passage.start:passage.end] == passage.text`, and an `Evidence` is a
verbatim piece of its passage, so a `Citation` points into the text as it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PUBLIC = "public"
"""The access group of every document that names none."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it was read from a corpus.

    `access` are the groups that may see it; `metadata` holds JSON values to filter by.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    access: tuple[str, ...] = (PUBLIC,)


@dataclass(frozen=True, slots=True)
class Passage:
    """A verbatim piece of a document: the unit that is indexed, retrieved and compressed."""

    id: str
    doc_id: str
    text: str
    title: str = ""
    start: int = 0
    end: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    access: tuple[str, ...] = (PUBLIC,)


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage with its score (higher is better).

    `ranks` gives its 1-based rank in every index that returned it, `scores` its raw score there.
    """

    passage: Passage
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the passages to compress for it, best first."""

    id: str
    text: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A verbatim span of a passage that the compressor kept; offsets count within the passage."""

    passage_id: str
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A span of a passage that the compressor left out, and why."""

    passage_id: str
    start: int
    end: int
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Compressed:
    """What the compressor made of one question.

    `evidence` is in the order of the passages, then of the text, and its spans never overlap.
    `words_in` and `words_kept` count whitespace-separated words. `abstained` says that nothing
    in the passages seemed to answer the question.
    """

    id: str
    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]
    words_in: int
    words_kept: int
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Citation:
    """A place in a document that the answer rests on; offsets count in the document as read."""

    doc_id: str
    passage_id: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of gathering evidence (`ragib.multistep`).

    `queries` were searched for together; `hits` are the passages that they added to those found
    before; `evidence` is what was kept of all. `answer` is the answer so far, `score` the IB score
    of the evidence in nats (lower is better), and `gain` by how much that is better than the step
    before; both are `None` where there is nothing to score or compare. `tokens` are those of the
    evidence and of all that a language model has read and written on the way up to here. `seconds`
    are the step's own. `stopped` says why no step followed; it is empty if one did.
    """

    queries: tuple[str, ...]
    hits: tuple[Hit, ...]
    evidence: tuple[Evidence, ...]
    answer: str
    score: float | None
    gain: float | None
    tokens: int
    seconds: float
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with everything that led to it.

    `evidence` is what was kept of the passages in `hits`, `dropped` what was not, and why. `steps`
    tell how they were found, where that took several.
    `timings` are seconds by stage (`retrieve`, `compress`, `generate`, `total`). `usage` counts
    words and tokens. `flags` name what the reader should know, such as `"unverified-citation"`
    for a citation that was taken out because it is not verbatim in its source. `confidence` is
    higher for surer answers, on the generator's own scale, where it has one.
    """

    question: str
    text: str
    citations: tuple[Citation, ...]
    evidence: tuple[Evidence, ...]
    hits: tuple[Hit, ...]
    abstained: bool
    timings: Mapping[str, float]
    usage: Mapping[str, int]
    flags: tuple[str, ...] = ()
    confidence: float | None = None
    dropped: tuple[Dropped, ...] = ()
    steps: tuple[Step, ...] = ()
