"""Addresses of servers: the host of one, and whether that is this machine."""

from __future__ import annotations

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
