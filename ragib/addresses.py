"""Addresses of servers, whether they mean this machine, and the keys that servers want."""

from __future__ import annotations

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

from ragib.errors import ConfigError


def host_of(url: str, key: str, example: str) -> str:
    """Return the host of an HTTP address.

    Raises
    ------
    ConfigError
        It is not one; the message names the `key` it was given as, and an `example`.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{key}: {url!r} is not an address such as {example}")
    return host


def is_loopback(host: str) -> bool:
    """Say whether a host name or address means this machine and cannot be reached from another."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def api_key(variable: str) -> str:
    """Return the API key in an environment variable; nothing if it is not set.

    Raises
    ------
    ConfigError
        What it holds cannot be sent.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds no API key")
    return key
