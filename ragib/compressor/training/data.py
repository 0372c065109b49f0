"""Examples: pairs of question and passage with the labels of the three heads.

A question gives one example of each gold passage and of some distractors. Part of them are second
readings: the question is followed by evidence as if it had been kept already, mostly right,
sometimes not, so that the model can use what it has found and is not led astray by a wrong find.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragib.compressor.reading import head
from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.compressor.windows import (
    KEPT_TOKENS,
    Ids,
    Pair,
    Special,
    Tokens,
    make_pair,
    make_prefix,
    tokenise,
)
from ragib.text import Span


@dataclass(frozen=True, slots=True)
class Example:
    """A pair with its labels.

    `keep` `(t,)` int8 is 1 for tokens of evidence, 0 for other tokens of the passage, -1 for the
    rest. `sentence` `(t,)` int16 numbers the sentences of the passage, -1 outside them. `start` and
    `end` index the first and last token of the answer in the pair; both are 0
    where the passage does not hold it, -1 where it holds evidence of an unknown answer.
    """

    pair: Pair
    keep: NDArray[np.int8]
    sentence: NDArray[np.int16]
    relevant: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mix:
    """How many examples a question gives.

    `distractors` a question of one hop, `distractors_hops` one of several; `second` is the share
    of one-hop examples that are second readings, `second_hops` that of the others. `excerpts` is
    the share that show a few sentences in place of the passage, as the reader is shown what was
    kept. Sequences have at most `max_tokens`; of the passage they show at most one of `caps`
    tokens, drawn without regard to its labels: the length must not tell gold from distractor.
    """

    distractors: int = 1
    distractors_hops: int = 3
    second: float = 0.15
    second_hops: float = 0.6
    excerpts: float = 0.3
    max_tokens: int = 256
    caps: tuple[int, ...] = (80, 112, 160, 208)


class Corpus:
    """All texts of the records as tokens, each text once."""

    def __init__(self, tokenizer: Any, records: Sequence[Record]) -> None:  # noqa: ANN401
        texts: dict[str, None] = {}
        for record in records:
            texts[record.question] = None
            for passage in record.passages:
                texts[passage.text] = None
                texts[head(passage.title)] = None
        self._tokens = dict(zip(texts, tokenise(tokenizer, list(texts)), strict=True))

    def __getitem__(self, text: str) -> Tokens:
        """Return the tokens of a text that the records hold."""
        return self._tokens[text]

    def ids(self, text: str, spans: Sequence[Span]) -> Ids:
        """Return the ids of the tokens that touch any of the spans, in order."""
        tokens = self[text]
        return tokens.ids[touching(tokens, spans)]


def touching(tokens: Tokens, spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Mark the tokens that overlap any of the spans: `(t,)` bool."""
    marked = np.zeros(len(tokens), dtype=np.bool_)
    for start, end in spans:
        marked |= (tokens.spans[:, 0] < end) & (tokens.spans[:, 1] > start)
    return marked


def evidence_sentences(passage: LabelledPassage) -> list[Span]:
    """Return the whole sentences that hold the evidence of a passage.

    Where evidence is marked, a sentence holds it if more than half of the sentence or of the
    marked span lies in the overlap; otherwise, if it overlaps an answer.
    """
    if not passage.evidence:
        return answer_sentences(passage)
    return [
        s
        for s in sentence_spans(passage.text)
        if any(2 * _overlap(s, e) > min(s[1] - s[0], e[1] - e[0]) for e in passage.evidence)
    ]


def answer_sentences(passage: LabelledPassage) -> list[Span]:
    """Return the whole sentences that overlap an answer."""
    sentences = sentence_spans(passage.text) if passage.answers else []
    return [s for s in sentences if any(_overlap(s, a) for a in passage.answers)]


def make_examples(
    records: Sequence[Record], corpus: Corpus, special: Special, mix: Mix, seed: int
) -> list[Example]:
    """Turn records into examples.

    Parameters
    ----------
    records
        The questions.
    corpus
        Their texts as tokens.
    special
        Ids of the special tokens.
    mix
        How many of which kind.
    seed
        Draws distractors, windows and what second readings are shown; a new one each epoch.
    """
    rng = random.Random(seed)  # noqa: S311
    examples: list[Example] = []
    for record in records:
        gold = [p for p in record.passages if p.gold]
        others = [p for p in record.passages if not p.gold]
        hops = len(gold) > 1
        wanted = mix.distractors_hops if hops else mix.distractors
        drawn = rng.sample(others, min(wanted, len(others)))
        share = mix.second_hops if hops else mix.second
        for passage in [*gold, *drawn]:
            shown: Ids = np.zeros(0, np.int32)
            if rng.random() < share:
                shown = _shown(passage, gold, others, corpus, rng)
            examples.append(_example(record, passage, shown, corpus, special, mix, rng))
    return examples


def _shown(
    passage: LabelledPassage,
    gold: Sequence[LabelledPassage],
    others: Sequence[LabelledPassage],
    corpus: Corpus,
    rng: random.Random,
) -> Ids:
    """Draw what a second reading is told to have kept: evidence, a wrong sentence, or both."""
    parts: list[Ids] = []
    elsewhere = [p for p in gold if p is not passage] or list(gold)
    kind = rng.random()
    if elsewhere and kind < 0.75:
        parts.append(_kept(rng.choice(elsewhere), None, corpus))
    if others and kind >= 0.55:
        wrong = rng.choice(others)
        if sentences := sentence_spans(wrong.text):
            parts.append(_kept(wrong, rng.choice(sentences), corpus))
    rng.shuffle(parts)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _kept(passage: LabelledPassage, sentence: Span | None, corpus: Corpus) -> Ids:
    spans = evidence_sentences(passage)[:1] if sentence is None else [sentence]
    title = corpus[head(passage.title)].ids
    return np.concatenate([title, corpus.ids(passage.text, spans)])[:KEPT_TOKENS]


def _example(
    record: Record,
    passage: LabelledPassage,
    shown: Ids,
    corpus: Corpus,
    special: Special,
    mix: Mix,
    rng: random.Random,
) -> Example:
    question, title = corpus[record.question].ids, corpus[head(passage.title)].ids
    tokens = corpus[passage.text]
    keep = touching(tokens, evidence_sentences(passage)).astype(np.int8)
    marked = touching(tokens, passage.answers[:1])
    if rng.random() < mix.excerpts:
        shown_part = touching(tokens, _excerpt(passage, rng))
        tokens = Tokens(tokens.ids[shown_part], tokens.spans[shown_part])
        keep, marked = keep[shown_part], marked[shown_part]
    answer = np.flatnonzero(marked)
    prefix = make_prefix(special, mix.max_tokens, question, shown, title)
    size = min(rng.choice(mix.caps), prefix.room(mix.max_tokens))
    first = _window(len(tokens), size, answer if len(answer) else np.flatnonzero(keep), rng)
    tokens, keep = tokens.cut(first, first + size), keep[first : first + size]
    pair = make_pair(special, prefix, tokens.ids)
    labels = np.full(len(pair.ids), -1, np.int8)
    labels[pair.body : -1] = keep
    numbers = np.full(len(pair.ids), -1, np.int16)
    numbers[pair.body : -1] = _numbers(tokens, sentence_spans(passage.text))
    inside = answer[(answer >= first) & (answer < first + size)] - first + pair.body
    whole = len(answer) > 0 and len(inside) == len(answer)
    nowhere = -1 if keep.any() and not record.answers else 0
    return Example(
        pair=pair,
        keep=labels,
        sentence=numbers,
        relevant=bool(keep.any()),
        start=int(inside[0]) if whole else nowhere,
        end=int(inside[-1]) if whole else nowhere,
    )


def _excerpt(passage: LabelledPassage, rng: random.Random) -> list[Span]:
    """Draw sentences of a passage: those with evidence, and up to two others."""
    evidence = evidence_sentences(passage)
    others = [span for span in sentence_spans(passage.text) if span not in evidence]
    wanted = rng.randint(0 if evidence else 1, 2)
    return sorted([*evidence, *rng.sample(others, min(wanted, len(others)))])


def _numbers(tokens: Tokens, sentences: Sequence[Span]) -> NDArray[np.int16]:
    """Say of each token in which sentence it stands."""
    numbers = np.full(len(tokens), -1, np.int16)
    for number, (start, end) in enumerate(sentences):
        numbers[tokens.within(start, end)] = number
    return numbers


def _window(tokens: int, size: int, wanted: NDArray[np.int64], rng: random.Random) -> int:
    """Choose where a window of a long passage begins, so that it holds what is wanted."""
    if tokens <= size:
        return 0
    if not len(wanted):
        return rng.randint(0, tokens - size)
    lowest, highest = max(0, int(wanted[-1]) + 1 - size), min(int(wanted[0]), tokens - size)
    return rng.randint(min(lowest, highest), highest)


def _overlap(a: Span, b: Span) -> int:
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))
