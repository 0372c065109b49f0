"""What a generative compressor could write for a question, and what each text is worth.

Candidates are the evidence sets of the silver labels, the whole passage, a sentence that only looks
like evidence, and nothing, `[DISCARD]`. Their reward is

    R(x~) = w (EM + F1 of the reader's answer from x~) - IB(x~)

for the IB score alone is known to cost accuracy. The best is what the model is first trained to
write; pairs of the best and one that is clearly worse are preferences.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragib.compressor.answers import find_answers
from ragib.compressor.ib_score import Judge, Kept
from ragib.compressor.model import EvidenceModel
from ragib.compressor.prompt import block, completion, prompt
from ragib.compressor.selection import sentence_spans
from ragib.compressor.training.records import LabelledPassage, Record
from ragib.compressor.training.silver import (
    Place,
    candidate_sets,
    labelled,
    one_hop,
    place_text,
    word_set,
)
from ragib.compressor.windows import tokenise
from ragib.compressor.writers import written_tokens
from ragib.text import count_words
from ragib.types import Evidence

Outcome = Callable[[str, Sequence[str]], float]
"""What a given answer is worth beside the right ones; without any, no answer is right."""

Rewards = Callable[[Sequence[Record], Sequence[Sequence[Place]]], list[float]]
"""Gives what it is worth to keep these sentences of each record, higher is better."""

DISTRACTORS = 3
NOISE = 0.25
"""Share of the questions that are asked a second time, without the passages that answer them."""

CLEARLY = 0.1
"""By how much, at least, the better of a pair has the higher reward."""

_SLACK = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What the model reads, and what it could write, with rewards; best first."""

    prompt: str
    texts: tuple[str, ...]
    rewards: tuple[float, ...]


def shown_records(
    records: Sequence[Record],
    tokenizer: Any,  # noqa: ANN401
    max_tokens: int,
    seed: int,
) -> Iterator[Record]:
    """Draw the passages that a model is shown, gold ones and distractors in any order.

    A question comes a second time, without its gold passages and answers, for `NOISE` of them.
    Passages that do not fit are left out, distractors first; without its gold ones a question is
    left out too.
    """
    rng = random.Random(seed)  # noqa: S311
    for record in records:
        gold = [p for p in record.passages if p.gold]
        others = [p for p in record.passages if not p.gold]
        drawn = rng.sample(others, min(DISTRACTORS, len(others)))
        size = max_tokens - written_tokens(max_tokens) - _SLACK
        fitting = _fitting([*gold, *drawn], record.question, tokenizer, size)
        if not fitting or fitting[: len(gold)] != gold:
            continue
        shown = rng.sample(fitting, len(fitting))
        yield replace(record, passages=tuple(shown))
        if gold and len(fitting) > len(gold) and rng.random() < NOISE:
            noise = tuple(p for p in shown if not p.gold)
            yield replace(record, passages=noise, answers=(), answerable=False)


def choices(record: Record) -> list[tuple[Place, ...]]:
    """Return the distinct sets of sentences that could be written for a record.

    A question whose answers are not known, or that needs several passages, has only the evidence
    it came with, for no judge can tell what else would do.
    """
    if record.answerable and not one_hop(record):
        return [places for places in [labelled(record)] if places]
    sets = candidate_sets(record) if record.answerable else []
    whole = tuple(
        (number, span)
        for number, passage in enumerate(record.passages)
        for span in sentence_spans(passage.text)
        if passage.gold and record.answerable
    )
    evidence = {place for places in sets for place in places}
    return list(dict.fromkeys([*sets, whole, _decoy(record, evidence), ()]))


def rewards(judge: Judge, reader: EvidenceModel, outcome: Outcome, weight: float) -> Rewards:
    """Combine the IB scores of a judge with the outcome of the reader's answers."""

    def reward(records: Sequence[Record], kept: Sequence[Sequence[Place]]) -> list[float]:
        asked = list(zip(records, kept, strict=True))
        ib = judge([_kept(record, places) for record, places in asked])
        answers = find_answers(
            reader,
            [(r.question, [_evidence(r, place) for place in places]) for r, places in asked],
            {p.id: p.title for r in records for p in r.passages},
        )
        given = [one.text if one is not None and one.score > 0 else "" for one in answers]
        return [
            weight * outcome(text, record.answers) - score
            for score, text, record in zip(ib, given, records, strict=True)
        ]

    return reward


def tasks(
    records: Sequence[Record],
    reward: Rewards,
    tokenizer: Any,  # noqa: ANN401
    max_tokens: int,
) -> list[Task]:
    """Judge the candidates of records as shown; one task a record that has any.

    Candidates too long to be written are left out; of equal rewards the shorter text leads.
    """
    sets = [choices(record) for record in records]
    asked = [(record, places) for record, row in zip(records, sets, strict=True) for places in row]
    texts = [completion(_texts(record, places)) for record, places in asked]
    sizes = [len(tokens) for tokens in tokenise(tokenizer, texts)]
    found = reward([record for record, _ in asked], [places for _, places in asked])
    judged = iter(zip(texts, sizes, found, strict=True))
    made = []
    for record, row in zip(records, sets, strict=True):
        own = [next(judged) for _ in row]
        ranked = sorted(
            ((score, text) for text, size, score in own if size < written_tokens(max_tokens)),
            key=lambda pair: (-pair[0], len(pair[1])),
        )
        if ranked:
            best, order = [score for score, _ in ranked], [text for _, text in ranked]
            made.append(Task(prompt_of(record, tokenizer), tuple(order), tuple(best)))
    return made


def prompt_of(record: Record, tokenizer: Any) -> str:  # noqa: ANN401
    """Return what a model reads for a record as shown."""
    passages = [(passage.title, passage.text) for passage in record.passages]
    return prompt(record.question, passages, sorted(tokenizer.all_special_tokens))


def to_write(made: Sequence[Task]) -> list[dict[str, str]]:
    """Return the best text of each task, as `prompt` and `completion`."""
    return [{"prompt": task.prompt, "completion": task.texts[0]} for task in made]


def preferences(made: Sequence[Task]) -> list[dict[str, str]]:
    """Return pairs of the best text and one clearly worse: `prompt`, `chosen`, `rejected`."""
    return [
        {"prompt": task.prompt, "chosen": task.texts[0], "rejected": text}
        for task in made
        for text, reward in zip(task.texts, task.rewards, strict=True)
        if task.rewards[0] - reward >= CLEARLY
    ]


def _fitting(
    passages: Sequence[LabelledPassage],
    question: str,
    tokenizer: Any,  # noqa: ANN401
    space: int,
) -> list[LabelledPassage]:
    texts = [prompt(question, []), *(f"\n\n{block(p.title, p.text)}" for p in passages)]
    first, *sizes = (len(tokens) for tokens in tokenise(tokenizer, texts))
    fitting, left = [], space - first
    for passage, size in zip(passages, sizes, strict=True):
        if size <= left:
            fitting.append(passage)
            left -= size
    return fitting


def _decoy(record: Record, evidence: set[Place]) -> tuple[Place, ...]:
    """Return the sentence that shares most words with the question and is no evidence."""
    asked = word_set(record.question)
    places = [
        (number, span)
        for number, passage in enumerate(record.passages)
        for span in sentence_spans(passage.text)
        if (number, span) not in evidence
    ]
    best = max(places, key=lambda p: len(asked & word_set(place_text(record, p))), default=None)
    return () if best is None else (best,)


def _kept(record: Record, places: Sequence[Place]) -> Kept:
    passages = [passage.text for passage in record.passages]
    words_in = sum(map(count_words, passages))
    return Kept(record.question, _texts(record, places), words_in, record.answers, passages)


def _texts(record: Record, places: Sequence[Place]) -> list[str]:
    return [place_text(record, place) for place in places]


def _evidence(record: Record, place: Place) -> Evidence:
    number, (start, end) = place
    return Evidence(record.passages[number].id, start, end, place_text(record, place), 1.0)
