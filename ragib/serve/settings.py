"""What a server allows: how much at once, how long, how large, and whom."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ragib.config import GeneratorConfig
from ragib.errors import InputError

MAX_BODY = 1 << 20
"""Bytes of a request's body."""

MAX_QUESTION = 16_384
"""Characters of a question."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of one server.

    `concurrency` requests are worked on at once and `queue` more wait their turn. A request has
    `deadline` seconds, waiting included; at the end, what is in flight has `grace` seconds. With
    no `keys` everybody on this machine may ask.
    """

    concurrency: int = 2
    queue: int = 64
    deadline: float = 60.0
    grace: float = 30.0
    max_body: int = MAX_BODY
    keys: tuple[str, ...] = ()


def default_concurrency(config: GeneratorConfig) -> int:
    """Return how many requests to work on at once.

    As many as there are cores; where an engine or another server generates, at least as many as
    that is given at a time.
    """
    cores = len(os.sched_getaffinity(0))
    return max(cores, config.concurrency) if config.name in ("openai", "vllm") else cores


def read_keys(variable: str | None) -> tuple[str, ...]:
    """Read API keys, separated by commas, from an environment variable; none from no variable.

    Raises
    ------
    InputError
        The variable is not set, or a key in it cannot be sent in a header.
    """
    if variable is None:
        return ()
    keys = tuple(key.strip() for key in os.environ.get(variable, "").split(",") if key.strip())
    if not keys:
        raise InputError(f"--api-key-env {variable}: this environment variable holds no key")
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise InputError(
            f"--api-key-env {variable}: a key may hold letters, digits and signs of ASCII only"
        )
    return keys
