"""Ports for the servers of tests and benchmarks."""

import os
import socket
from itertools import cycle, islice
from typing import Final


FIRST, COUNT = 20_000, 10_000
"""Below those that Linux gives to outgoing connections, from 32768 on: one of these may come before the server."""
_CANDIDATES: Final = islice(cycle(range(FIRST, FIRST + COUNT)), os.getpid() * 97 % COUNT, None)
"""Each process begins elsewhere, and comes to a port again only after all others."""


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on now, at any address."""
    return list(islice(filter(_is_free, _CANDIDATES), count))


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("", port)):
            return True
    except OSError:
        return False
