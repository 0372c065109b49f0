"""When to try again, and how long to wait: exponential backoff with jitter.

Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from ragib.errors import GenerationError

RETRIED = frozenset((408, 409, 425, 429, 500, 502, 503, 504))
"""HTTP statuses that may pass by themselves."""

_FIRST, _LONGEST = 0.5, 30.0


class Backoff:
    """The waits of one request, in seconds.

    The n-th wait is drawn evenly from the upper half of 0.5·2ⁿ s, at most 30 s, so that many
    clients do not come back together; equal seeds give equal waits.

    Parameters
    ----------
    retries
        How often to try again.
    longest
        A server that asks for more seconds than this is not waited for.
    seed
        Of the jitter.
    """

    def __init__(self, retries: int, longest: float, seed: int) -> None:
        self._left = retries
        self._tried = 0
        self._longest = longest
        self._random = Random(seed)  # noqa: S311

    def wait(self, reason: str, retry_after: str | None = None) -> float:
        """Return how long to wait after a failed attempt.

        Raises
        ------
        GenerationError
            There are no attempts left, or the server asks for too long a wait.
        """
        if self._tried >= self._left:
            tries = self._tried + 1
            raise GenerationError(reason if tries == 1 else f"{reason} (after {tries} attempts)")
        asked = seconds_asked(retry_after)
        if asked > self._longest:
            raise GenerationError(
                f"{reason} (the server asks to wait {asked:.0f} s, generator.timeout is "
                f"{self._longest:g} s)"
            )
        full = min(_LONGEST, _FIRST * 2.0**self._tried)
        self._tried += 1
        return max(asked, full * self._random.uniform(0.5, 1))


def seconds_asked(retry_after: str | None) -> float:
    """Read a `Retry-After` header, seconds or a date; 0 for none, nonsense or the past."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
