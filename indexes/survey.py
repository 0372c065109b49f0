"""How many passages a corpus has, and some that stand for all of them.

Documents are sorted by length into powers of two, and of each length a few are cut into passages;
how many all have follows from the characters of each length. In one heap, the few long documents
that hold most of the text would be missed or counted too often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ragib.config import ChunkConfig
from ragib.corpus import chunk, word_tokens
from ragib.encoders import Encoder
from ragib.indexes.build import Progress
from ragib.indexes.passage_writer import check_document
from ragib.types import Document, Passage

PASSAGES = 400
"""Passages that stand for all of them, about."""

_DOCUMENTS = 40
"""Documents of like length that are kept, at most."""

_CHARACTERS = 200_000
"""Characters of theirs, at most; but always one document's first ones."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A corpus, as estimated: `sample` stands for its passages, `share` of its text was cut."""

    documents: int
    passages: int
    sample: Sequence[Passage]
    share: float


@dataclass(slots=True)
class Stratum:
    """Documents of like length: all of them counted, some of them kept."""

    documents: int = 0
    characters: int = 0
    kept: list[Document] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)

    @property
    def expected(self) -> float:
        """Return how many passages all of its documents have."""
        return len(self.passages) * self.characters / sum(len(d.text) for d in self.kept)


def survey(documents: Iterable[Document], progress: Progress) -> list[Stratum]:
    """Count all documents, and keep some of each length: every one with the same chance.

    Raises
    ------
    InputError
        A document cannot be indexed.
    """
    rng = np.random.default_rng(0)
    strata: dict[int, Stratum] = {}
    for number, document in enumerate(documents, 1):
        check_document(document)
        length = len(document.text)
        stratum = strata.setdefault(length.bit_length(), Stratum())
        stratum.documents += 1
        stratum.characters += length
        room = min(max(_CHARACTERS >> length.bit_length(), 1), _DOCUMENTS)
        place = len(stratum.kept) if len(stratum.kept) < room else rng.integers(stratum.documents)
        if place < room:
            short = replace(document, text=document.text.lstrip()[:_CHARACTERS])
            stratum.kept[place : place + 1] = [short]
        progress("read", number, None)
    return list(strata.values())


def cut_sample(strata: Sequence[Stratum], config: ChunkConfig, encoder: Encoder | None) -> Cut:
    """Cut what was kept, and take passages of each length as there are of them in all."""
    count = word_tokens if encoder is None else encoder.count_tokens
    for stratum in strata:
        for document in stratum.kept:
            stratum.passages += chunk(document, config, count)
    total = sum(stratum.expected for stratum in strata)
    sample: list[Passage] = []
    for stratum in strata:
        wanted = max(round(PASSAGES * stratum.expected / total), 1)
        places = np.linspace(0, len(stratum.passages) - 1, min(wanted, len(stratum.passages)))
        sample += [stratum.passages[int(place)] for place in places]
    # In any order but that of length, so that a part of the sample stands for all as well.
    order = np.random.default_rng(0).permutation(len(sample))
    kept = sum(len(document.text) for stratum in strata for document in stratum.kept)
    return Cut(
        documents=sum(stratum.documents for stratum in strata),
        passages=max(round(total), 1),
        sample=[sample[i] for i in order],
        share=kept / sum(stratum.characters for stratum in strata),
    )
