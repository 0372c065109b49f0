"""From scored sentences to evidence: what is kept, what is dropped, and why.

Every compressor that ranks sentences ends here, so all of them mean the same by a share, a budget
and a threshold. Sentences are taken greedily, best score first; one that does not fit is passed
over and the next is tried. Equal scores go to the earlier passage, then to the earlier sentence.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ragib.compressor.repeats import Kept
from ragib.errors import RagibError
from ragib.text import Span, sentences, words
from ragib.types import Compressed, Dropped, Evidence, Question

MAX_WORDS = 100
"""Longer sentences are cut, so that tables, logs and unpunctuated text can be compressed too."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Where a sentence stands: the position of its passage in the question, and its offsets."""

    passage: int
    start: int
    end: int

    def text(self, question: Question) -> str:
        """Return the sentence itself."""
        return question.passages[self.passage].text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class ScoredSentence:
    """A sentence with its score (higher is better) and, where a budget needs it, its tokens."""

    sentence: Sentence
    score: float
    tokens: int | None = None


def sentence_spans(text: str) -> list[Span]:
    """Split a text into the spans that are kept or dropped whole.

    These are its sentences; one of more than `MAX_WORDS` words is cut into pieces of that many.
    """
    spans: list[Span] = []
    for start, end in sentences(text):
        inside = words(text[start:end])
        for first in range(0, len(inside), MAX_WORDS):
            piece = inside[first : first + MAX_WORDS]
            spans.append((start + piece[0][0], start + piece[-1][1]))
    return spans


def sentences_of(question: Question) -> list[Sentence]:
    """Return all sentences of a question, in the order of the passages, then of the text."""
    return [
        Sentence(number, start, end)
        for number, passage in enumerate(question.passages)
        for start, end in sentence_spans(passage.text)
    ]


def share_of(keep: float, count: int) -> Fraction:
    """Return `keep` times `count`, so exact that .29 of 100 is 29 and 3/7 of 7 is 3."""
    return Fraction(keep).limit_denominator(10**6) * count


def select(
    question: Question,
    scored: Sequence[ScoredSentence],
    *,
    keep: float | None = None,
    budget: int | None = None,
    threshold: float | None = None,
    repeats: bool = False,
) -> Compressed:
    """Keep the best sentences within the limits that are given.

    A sentence that says only what a kept one says already is dropped as a repeat, unless `repeats`
    are wanted; with no limit at all, everything else is kept.

    Parameters
    ----------
    question
        The question with its passages.
    scored
        Its sentences, in any order; none may overlap another.
    keep
        Share, in (0, 1], of the words of all passages. The kept words never exceed it, with one
        exception: the best sentence is kept even if it is longer on its own, and is then the only
        one.
    budget
        Tokens; never exceeded, not even by the best sentence. Needs `tokens` of every sentence.
    threshold
        The lowest score that is kept.

    Returns
    -------
    Compressed
        Verbatim evidence in the order of the passages, then of the text; it has abstained when
        nothing is kept. The words kept never shrink as `keep` or `budget` is raised (budget: the
        tokens), and what is kept never shrinks as `threshold` is lowered. A word that a sentence
        holds in part, as in scripts without spaces, counts by its share of characters.

    Raises
    ------
    RagibError
        A score is not a number.
    ValueError
        A limit is out of range, sentences overlap or stand outside their passage, or a budget is
        given and a sentence has no token count.
    """
    _check(question, scored, keep, budget, threshold)
    word_spans = [words(passage.text) for passage in question.passages]
    words_in = sum(map(len, word_spans))
    most_words = None if keep is None else share_of(keep, words_in)
    tokens_left = budget
    words_kept = Fraction(0)
    kept = Kept()
    evidence: list[ScoredSentence] = []
    dropped: list[tuple[ScoredSentence, str]] = []
    for item in sorted(scored, key=_best_first):
        if threshold is not None and item.score < threshold:
            dropped.append((item, _below(item.score, threshold)))
            continue
        place = question.passages[item.sentence.passage], *_span(item)
        if not repeats and (repeated := kept.repeated_by(*place)) is not None:
            dropped.append((item, f"repeats {repeated}"))
            continue
        cost = _word_share(word_spans[item.sentence.passage], item.sentence)
        if most_words is not None and words_kept + cost > most_words and evidence:
            dropped.append((item, f"over the share of {keep:g} of the words"))
            continue
        if tokens_left is not None:
            assert item.tokens is not None
            if item.tokens > tokens_left:
                dropped.append((item, f"over the budget of {budget} tokens"))
                continue
            tokens_left -= item.tokens
        words_kept += cost
        evidence.append(item)
        kept.add(*place)
    return Compressed(
        id=question.id,
        evidence=tuple(
            Evidence(_passage_id(question, s), *_span(s), s.sentence.text(question), float(s.score))
            for s in sorted(evidence, key=_in_order)
        ),
        dropped=tuple(
            Dropped(_passage_id(question, s), *_span(s), float(s.score), reason)
            for s, reason in sorted(dropped, key=lambda pair: _in_order(pair[0]))
        ),
        words_in=words_in,
        words_kept=math.ceil(words_kept),
        abstained=not evidence,
    )


def _check(
    question: Question,
    scored: Sequence[ScoredSentence],
    keep: float | None,
    budget: int | None,
    threshold: float | None,
) -> None:
    if keep is not None and not 0 < keep <= 1:
        raise ValueError(f"keep must be a share in (0, 1], got {keep}")
    if budget is not None and budget < 1:
        raise ValueError(f"budget must be at least 1 token, got {budget}")
    if threshold is not None and math.isnan(threshold):
        raise ValueError("threshold is not a number")
    for item in scored:
        if math.isnan(item.score):
            where = f"{_passage_id(question, item)}:{item.sentence.start}-{item.sentence.end}"
            raise RagibError(
                f"question {question.id}: the score of sentence {where} is not a number; "
                "the compressor's weights or its encoder are damaged"
            )
        if budget is not None and item.tokens is None:
            raise ValueError("a budget needs the token count of every sentence")
    last = Sentence(-1, 0, 0)
    for sentence in sorted((item.sentence for item in scored), key=_place):
        inside = len(question.passages[sentence.passage].text)
        if not 0 <= sentence.start < sentence.end <= inside:
            raise ValueError(f"{sentence} is not inside its passage of {inside} characters")
        if sentence.passage == last.passage and sentence.start < last.end:
            raise ValueError(f"{last} and {sentence} overlap")
        last = sentence


def _word_share(spans: Sequence[Span], sentence: Sentence) -> Fraction:
    """Count the words, given by their spans, that a sentence holds whole or in part."""
    first = bisect_right(spans, sentence.start, key=lambda word: word[1])
    last = bisect_left(spans, sentence.end, key=lambda word: word[0])
    share = Fraction(last - first)
    for start, end in {spans[first], spans[last - 1]} if first < last else ():
        held = min(end, sentence.end) - max(start, sentence.start)
        share -= 1 - Fraction(held, end - start)
    return share


def _below(score: float, threshold: float) -> str:
    digits = 2
    while f"{score:.{digits}f}" == f"{threshold:.{digits}f}" and digits < 17:
        digits += 1
    return f"score {score:.{digits}f} below threshold {threshold:.{digits}f}"


def _passage_id(question: Question, item: ScoredSentence) -> str:
    return question.passages[item.sentence.passage].id


def _span(item: ScoredSentence) -> Span:
    return item.sentence.start, item.sentence.end


def _place(sentence: Sentence) -> tuple[int, int]:
    return sentence.passage, sentence.start


def _in_order(item: ScoredSentence) -> tuple[int, int]:
    return _place(item.sentence)


def _best_first(item: ScoredSentence) -> tuple[float, int, int]:
    return -item.score, *_place(item.sentence)
