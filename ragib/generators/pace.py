"""How fast an answer came, in the whole numbers that `usage` holds."""

from __future__ import annotations


def pace(first: float | None, last: float, tokens: int) -> dict[str, int]:
    """Return `first_token_ms` and `tokens_per_second`, those that can be told.

    Parameters
    ----------
    first, last
        Seconds from the request to the first and to the last token; no `first` if none came.
    tokens
        How many came. The rate is of those after the first one, so it leaves out the reading of
        the prompt.
    """
    if first is None:
        return {}
    known = tokens > 1 and last > first
    rate = {"tokens_per_second": round((tokens - 1) / (last - first))} if known else {}
    return {"first_token_ms": round(1000 * first), **rate}
