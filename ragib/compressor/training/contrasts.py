"""What a token head is trained on: questions, a passage that answers each, and hard negatives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragib.compressor.model import EvidenceModel
from ragib.compressor.reading import NO_IDS, Text, head, read
from ragib.compressor.training.data import Corpus
from ragib.compressor.training.loop import Progress
from ragib.compressor.training.records import Record
from ragib.text import batched

NEGATIVES = 2
"""Hard negatives a question, drawn from those of its record."""

_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Contrast:
    """A question and its passages, by their numbers in `Contrasts`.

    `passages` are one that answers it and hard negatives; `golds` are all that answer it.
    """

    question: int
    passages: tuple[int, ...]
    golds: frozenset[int]


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Questions, the `(title, text)` of all their passages, each once, and what to contrast."""

    questions: Sequence[str]
    passages: Sequence[tuple[str, str]]
    items: Sequence[Contrast]


def contrasts(records: Sequence[Record], seed: int) -> Contrasts:
    """Draw the passages of each record; records without a gold passage or negatives are left out.

    Parameters
    ----------
    records
        Questions with labelled passages.
    seed
        Draws the passage that answers and the negatives.
    """
    rng = random.Random(seed)  # noqa: S311
    numbers: dict[tuple[str, str], int] = {}
    questions: list[str] = []
    items: list[Contrast] = []
    for record in records:
        gold = [(p.title, p.text) for p in record.passages if p.gold]
        others = [(p.title, p.text) for p in record.passages if not p.gold]
        if not gold or not others:
            continue
        drawn = [rng.choice(gold), *rng.sample(others, min(len(others), NEGATIVES))]
        for text in (*drawn, *gold):
            numbers.setdefault(text, len(numbers))
        passages = tuple(numbers[text] for text in drawn)
        items.append(Contrast(len(questions), passages, frozenset(numbers[t] for t in gold)))
        questions.append(record.question)
    return Contrasts(questions, list(numbers), items)


def relevances(
    model: EvidenceModel, records: Sequence[Record], made: Contrasts, progress: Progress
) -> list[tuple[float, ...]]:
    """Let the relevance head of an evidence model score the passages of each contrast.

    Parameters
    ----------
    model
        The teacher.
    records
        Those the contrasts were made of, whose texts it reads.
    made
        What `contrasts` made of them.
    progress
        Called with `teacher`, questions done, questions in all.

    Returns
    -------
    list[tuple[float, ...]]
        A logit for each of `Contrast.passages`.
    """
    corpus = Corpus(model.tokenizer, records)
    scores: list[tuple[float, ...]] = []
    for batch in batched(made.items, _TOGETHER):
        progress("teacher", len(scores), len(made.items))
        texts = [
            Text(
                corpus[made.questions[item.question]].ids,
                NO_IDS,
                corpus[head(made.passages[number][0])].ids,
                corpus[made.passages[number][1]],
            )
            for item in batch
            for number in item.passages
        ]
        logits = [reading.relevance for reading in read(model, texts)]
        cuts = np.cumsum([len(item.passages) for item in batch])[:-1]
        scores += [tuple(part.tolist()) for part in np.split(np.array(logits), cuts)]
    return scores
