"""The UDP port that replicas and the other gateways report to."""

import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from gptoss_runtime.activator.records.paced import PacedReader
from gptoss_runtime.activator.tenants.datagrams import Peer, read_datagram
from gptoss_runtime.gateway_contract import Usage


LARGEST_BYTES = 65536
READS = 500
"""Datagrams before others have their turn."""
BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel for what comes while the activator is busy; it may give less."""
_MAPPED = "::ffff:"
"""IPv6's way to write an IPv4 address, on a socket for both."""


class UsagePort:
    """The open port."""

    def __init__(self, listening: socket.socket, port: int) -> None:
        self._socket = listening
        self._port = port

    def send(self, datagrams: Iterable[bytes], addresses: Iterable[str]) -> None:
        """Send each datagram to the same port of each address. What cannot be sent is lost: more will follow."""
        to = [self._name(address) for address in addresses]
        for datagram in datagrams:
            for address in to:
                try:
                    self._socket.sendto(datagram, (address, self._port))
                except OSError:
                    continue

    def _name(self, address: str) -> str:
        both = self._socket.family == socket.AF_INET6 and ":" not in address
        return _MAPPED + address if both else address


@asynccontextmanager
async def usage_port(
    address: str | None,
    port: int,
    *,
    on_usage: Callable[[Usage], None],
    on_peer: Callable[[Peer, str], bool],
    on_bad: Callable[[], None],
    on_read: Callable[[], None],
) -> AsyncIterator[UsagePort]:
    """Listen while the block runs. Raises OSError when the port is taken.

    `on_peer` gets the sender's address too, and returns False when it may not send; `on_bad` counts that, and what is
    not understood. `on_read` is called after each batch.
    """
    listening = _bound(address, port)

    def read() -> None:
        for _ in range(READS):
            try:
                data, sender = listening.recvfrom(LARGEST_BYTES)
            except OSError:  # Nothing more is there; or the word that something sent has not arrived.
                break
            said = read_datagram(data)
            if isinstance(said, Usage):
                on_usage(said)
            elif said is None or not on_peer(said, sender[0].removeprefix(_MAPPED)):
                on_bad()
        on_read()

    reader = PacedReader(listening, read)
    try:
        yield UsagePort(listening, port)
    finally:
        reader.close()


def _bound(address: str | None, port: int) -> socket.socket:
    """Return a socket that takes datagrams to `address`, or to all addresses of both families."""
    if address is None:
        try:
            return _open(socket.AF_INET6, "::", port)
        except OSError:
            # No IPv6 on this node. A port that is taken is taken for both.
            return _open(socket.AF_INET, "", port)
    return _open(socket.AF_INET6 if ":" in address else socket.AF_INET, address, port)


def _open(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.settimeout(0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind((address, port))
    except OSError:
        opened.close()
        raise
    return opened
