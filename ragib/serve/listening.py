"""The socket that a server listens on: loopback, unless a key protects it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ragib.addresses import is_loopback
from ragib.errors import InputError, RagibError
from ragib.extras import refuse_offline

_BACKLOG = 1024


def listen(host: str, port: int, keys: Sequence[str]) -> socket.socket:
    """Listen on a port; 0 takes a free one.

    Raises
    ------
    InputError
        Others could reach the address, and there is no key; or it is not an address.
    OfflineError
        Others could reach it, and the network is switched off.
    RagibError
        The port is taken, or not allowed.
    """
    if not is_loopback(host):
        if not keys:
            raise InputError(
                f"--host {host}: others could reach this address, and without a key everybody "
                "could read the index; put a key into an environment variable and name it with "
                "--api-key-env, or stay on 127.0.0.1"
            )
        refuse_offline(f"listening on {host}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: this is no address of this machine") from None
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise RagibError(f"cannot listen on {host}, port {port}: {error.strerror}") from None


def address_of(listener: socket.socket) -> str:
    """Return the address to type into a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
