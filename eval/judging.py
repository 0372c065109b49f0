"""The stage in which a language model judges answers; its verdicts are kept like all other work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ragib
from ragib.config import Config, GeneratorConfig
from ragib.errors import ConfigError, RagibError
from ragib.eval.answering import Reply
from ragib.eval.cache import key_of
from ragib.eval.evalset import EvalQuery
from ragib.eval.judge import PROMPTS, asked, known, verdict
from ragib.eval.stages import Failure, Stages, generator_settings
from ragib.generators.completing import Completer, load_completer


@dataclass(frozen=True, slots=True)
class Judge:
    """A language model by its name; `settings` is all of it that decides a verdict."""

    name: str
    completer: Completer
    max_tokens: int
    settings: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on one answer by criterion, and why one is missing, which counts as 0."""

    values: Mapping[str, float] = field(default_factory=dict)
    errors: Sequence[str] = ()


def load_judge(config: GeneratorConfig) -> Judge:
    """Return the judge that a configuration names; its model loads at the first answer.

    Raises
    ------
    ConfigError
        It is no language model, or the configuration lacks what it needs.
    OfflineError, MissingExtraError
        It needs the network, or a package that is not installed.
    """
    try:
        completer = load_completer(config)
    except ConfigError as error:
        raise ConfigError(f"judge: {error}") from None
    settings = generator_settings(Config(generator=config))
    return Judge(str(config.model), completer, config.max_tokens, settings)


def judge_all(
    stages: Stages, judge: Judge, queries: Sequence[EvalQuery], replies: Sequence[Reply]
) -> list[Judged]:
    """Judge the answers to some questions, in one batch.

    A verdict that cannot be had (the model failed, or wrote anything but a verdict) is 0, and its
    reason goes among the errors; the next run asks for it again.
    """
    pairs = list(zip(queries, (one.answer for one in replies), strict=True))
    chats = [
        (place, criterion, chat)
        for place, pair in enumerate(pairs)
        for criterion, chat in asked(*pair).items()
    ]
    keys = [key_of(ragib.__version__, judge.settings, chat) for _, _, chat in chats]

    def work(places: Sequence[int]) -> list[Any]:
        texts = [chats[i][2] for i in places]
        found = judge.completer.complete(texts, max_tokens=judge.max_tokens)
        return [
            Failure(one.error) if one.error is not None else _read(chats[i][1], one.text)
            for i, one in zip(places, found, strict=True)
        ]

    values = [known(*pair) for pair in pairs]
    errors: list[list[str]] = [[] for _ in pairs]
    for (place, criterion, _), made in zip(chats, stages("judge", keys, work), strict=True):
        failed = isinstance(made.value, Failure)
        values[place][criterion] = 0.0 if failed else float(made.value)
        if failed:
            errors[place].append(f"{criterion}: {made.value.reason}")
    return [Judged(*one) for one in zip(values, errors, strict=True)]


def described_judge(config: GeneratorConfig) -> dict[str, Any]:
    """Return what a run's manifest says of its judge: the model, its settings, the prompts."""
    return {**config.model_dump(mode="json", exclude_defaults=True), "prompts": dict(PROMPTS)}


def _read(criterion: str, reply: str) -> bool | Failure:
    try:
        return verdict(criterion, reply)
    except RagibError as error:
        return Failure(str(error))
