"""Damage and malice: what a valid file becomes in the hands of a fuzzer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

LONGEST = 1 << 16
"""Bytes that a mutated file may have more than it had."""

_TOKENS = (
    b"0", b"-1", b"9" * 20, b"9" * 5000, b"1e999", b"-0.0", b"NaN", b"Infinity", b"null", b"true",
    b"\"\"", b"[]", b"{}", b"[" * 3000, b"{\"a\":" * 3000, b"]", b"}", b"\"", b"'", b",", b":",
    b"\n", b"\r", b"\t", b"\x00", b"\xff" * 4, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00" * 8,
    b"\xef\xbb\xbf", b"\xff\xfe", b"\\ud800", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"../../x",
    b"/etc/passwd", b"&a [*a, *a]", b"*a", b"!!python/object:os.system", b"2001-99-99", b"? ",
    b"<![CDATA[", b"<!--", b"<" * 500, b"&#x110000;", b"<pre>" * 500, b"\x1f\x8b", b"%s%n", b"0x",
)  # fmt: skip


def mutate(data: bytes, rng: Random, donors: Sequence[bytes]) -> bytes:
    """Change a file in one to four ways.

    Parameters
    ----------
    data
        A valid file.
    rng
        Decides everything.
    donors
        Other files of the kind, to splice from.
    """
    limit = len(data) + LONGEST
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(_WAYS)(data, rng, donors)[:limit]
    return data


def _flip(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        bit = rng.randrange(8 * len(data))
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _truncate(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _cut_out(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + data[stop:]


def _repeat(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    start, stop = _range(data, rng)
    return data[:start] + data[start:stop] * rng.choice((2, 3, 100)) + data[stop:]


def _splice(data: bytes, rng: Random, donors: Sequence[bytes]) -> bytes:
    donor = rng.choice(donors)
    start, stop = _range(donor, rng)
    at, end = _range(data, rng)
    return data[:at] + donor[start:stop] + data[rng.choice((at, end)) :]


def _insert(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    token = rng.choice(_TOKENS)
    return data[:at] + token + data[at + rng.choice((0, len(token))) :]


def _number(data: bytes, rng: Random, _: Sequence[bytes]) -> bytes:
    """Put another number in the place of one in the text."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return _insert(data, rng, ())
    start = stop = rng.choice(places)
    while stop < len(data) and 48 <= data[stop] <= 57:
        stop += 1
    value = rng.choice((b"0", b"-1", b"1.5", b"9" * 19, b"9" * 400, b"1e400", b'"7"', b"null"))
    return data[:start] + value + data[stop:]


def _range(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    length = rng.choice((1, 4, 16, 64, 1024))
    return start, min(start + rng.randrange(1, length + 1), len(data))


_WAYS: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _truncate, _cut_out, _repeat, _splice, _splice, _insert, _insert, _number,
)  # fmt: skip
