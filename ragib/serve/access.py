"""Who may ask, and what they may see.

A key is compared in constant time. A server without keys answers nobody but this machine; as a
browser on it may be shown pages of others, a request that a foreign page made (by its `Origin`),
or that came by a foreign name for this machine (by its `Host`: DNS rebinding), is refused.

The groups of the asker come in the header `X-Ragib-Groups`. The server believes it: whoever holds
a key speaks for the groups. A gateway that knows its users sets the header and lets none through.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ragib.addresses import is_loopback
from ragib.serve.problems import ApiError
from ragib.types import PUBLIC

GROUPS = "x-ragib-groups"
"""The header that names the asker's groups, separated by commas; `public` is always one."""

OPEN = frozenset({"/", "/page.css", "/page.js", "/favicon.ico", "/health"})
"""Paths that need no key: what is there is the same for everybody."""


def check_access(path: str, headers: Headers, keys: Sequence[str]) -> None:
    """Let a request pass, or raise an `ApiError`: 401 without a right key, 403 from elsewhere."""
    if not keys:
        _check_origin(headers)
    elif path not in OPEN:
        _check_key(headers, keys)


def groups_of(headers: Headers) -> tuple[str, ...]:
    """Return the groups that the asker belongs to."""
    named = (name.strip() for line in headers.getlist(GROUPS) for name in line.split(","))
    return tuple(dict.fromkeys([PUBLIC, *filter(None, named)]))


def _check_key(headers: Headers, keys: Sequence[str]) -> None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    digest = sha256(given.strip().encode()).digest()
    # Every key is compared, whichever fits, and digests have one length.
    fits = [hmac.compare_digest(digest, sha256(key.encode()).digest()) for key in keys]
    if scheme.lower() != "bearer" or not any(fits):
        what = "a wrong API key" if given else "no API key"
        raise ApiError(
            401,
            f"{what}; send it as 'Authorization: Bearer KEY'",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin")
    named = [f"//{headers.get('host', '')}", *([] if origin is None else [origin])]
    if not all(is_loopback(_host(name)) for name in named):
        raise ApiError(
            403,
            "this server has no API key and answers nobody but this machine",
            code="foreign_origin",
        )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
