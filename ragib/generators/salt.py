"""Keeps what one access group's questions leave in a prefix cache from every other.

A prompt that is answered faster because its beginning is cached tells that somebody asked about
the same passages. vLLM hashes a salt into the first block of a prompt, so that requests of unlike
salts share none (https://docs.vllm.ai/en/latest/design/prefix_caching/).
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence

from ragib.types import PUBLIC

_SECRET = secrets.token_bytes(32)


def salt_of(allow: Sequence[str]) -> str | None:
    """Return the salt of those who may see the groups `allow`; none for the public alone.

    Equal sets of groups have equal salts in this process, 64 hexadecimal digits that nobody
    outside of it can tell: who asks the engine directly cannot join a group's prefixes.
    """
    groups = sorted(set(allow))
    if groups == [PUBLIC]:
        return None
    return hmac.digest(_SECRET, json.dumps(groups).encode(), "sha256").hex()
