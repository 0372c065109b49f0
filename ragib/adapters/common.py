"""What the adapters share: how they are configured, one metadata, and offsets that survive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragib.compressor.base import Compressor
from ragib.compressor.registry import load_compressor
from ragib.config import CompressorConfig, Config, RetrieverConfig
from ragib.errors import InputError
from ragib.indexes.filters import Where
from ragib.indexes.index import Index
from ragib.retriever import Retriever
from ragib.types import Hit, Passage, Question

Finding = Config | RetrieverConfig
"""How passages are found: a whole configuration, or its section `retriever`."""

Keeping = str | CompressorConfig | Config
"""What is kept: the name of a compressor, a configuration, or its section `compressor`."""


@dataclass(frozen=True, slots=True)
class Finder:
    """A retriever with the filters that hold where a call brings none of its own."""

    retriever: Retriever
    where: Where | None
    allow: tuple[str, ...]

    def find(
        self, question: str, where: Where | None = None, allow: Sequence[str] | None = None
    ) -> list[Hit]:
        """Return the hits of one question, best first.

        `where` and `allow` take the place of the finder's own; only `None` is none given, so that
        an empty one gives nothing. Raises as `Retriever.retrieve` does.
        """
        return self.retriever.retrieve(
            [question],
            where=self.where if where is None else where,
            allow=self.allow if allow is None else allow,
        )[0]


def finder_of(
    index: Index, config: Finding | None, where: Where | None, allow: Iterable[str]
) -> Finder:
    """Put a finder together; without a configuration, with all defaults.

    Raises
    ------
    InputError
        `allow` is one string, not a list of groups.
    """
    if isinstance(allow, str):
        raise InputError(f"allow: expected a list of group names, got {allow!r}")
    return Finder(Retriever(index, retrieval_of(config)), where, tuple(allow))


def retrieval_of(config: Finding | None) -> RetrieverConfig:
    """Return the section `retriever`, with all defaults if there is no configuration."""
    if isinstance(config, Config):
        return config.retriever
    return config or RetrieverConfig()


def compression_of(compressor: Keeping) -> CompressorConfig:
    """Return the section `compressor`."""
    if isinstance(compressor, Config):
        return compressor.compressor
    return CompressorConfig(name=compressor) if isinstance(compressor, str) else compressor


def compressor_of(compressor: Keeping) -> Compressor:
    """Load a compressor; raises as `ragib.compressor.registry.load_compressor` does."""
    return load_compressor(compression_of(compressor))


def about(passage: Passage) -> dict[str, Any]:
    """Return what a framework is told of a passage, but for its place and score.

    That is its metadata, and over them `doc_id`, `passage_id` and `title`; not the groups that
    may see it.
    """
    return {
        **passage.metadata,
        "doc_id": passage.doc_id,
        "passage_id": passage.id,
        "title": passage.title,
    }


@dataclass(frozen=True, slots=True)
class Given:
    """A text that a framework hands over, and what it says of its place in a document.

    It may come from any retriever, so `title`, `start` and `end` can be anything; a place is
    believed if it has the length of the text.
    """

    text: str
    title: object = ""
    start: object = None
    end: object = None

    @property
    def offset(self) -> int:
        """Where the text begins in its document; 0 where that is not known."""
        if isinstance(self.start, int) and isinstance(self.end, int):
            return self.start if 0 <= self.start == self.end - len(self.text) else 0
        return 0

    @classmethod
    def told(cls, text: str, metadata: Mapping[str, Any]) -> Given:
        """Read the place and the title out of metadata."""
        return cls(text, *(metadata.get(key) for key in ("title", "start", "end")))


@dataclass(frozen=True, slots=True)
class Kept:
    """Evidence out of the text at position `source` (from 0) of those given.

    `start` and `end` count in the document where the place of the text in it is known, else in
    the text itself.
    """

    source: int
    text: str
    start: int
    end: int
    score: float

    def id(self, of: str) -> str:
        """Name the evidence after the text it is out of."""
        return f"{of}:{self.start}-{self.end}"


def keep(compressor: Compressor, question: str, texts: Sequence[Given]) -> list[Kept]:
    """Keep the evidence for a question, verbatim, in the order of the texts, then within them.

    Raises
    ------
    InputError
        The question is empty.
    """
    if not question.strip():
        raise InputError(f"a question must not be empty, got {question!r}")
    passages = tuple(_passage(str(number), text) for number, text in enumerate(texts))
    (compressed,) = compressor.compress([Question("1", question, passages)])
    return [
        Kept(
            (source := int(one.passage_id)),
            one.text,
            texts[source].offset + one.start,
            texts[source].offset + one.end,
            one.score,
        )
        for one in compressed.evidence
    ]


def _passage(name: str, given: Given) -> Passage:
    title = given.title if isinstance(given.title, str) else ""
    return Passage(name, name, given.text, title, 0, len(given.text))
