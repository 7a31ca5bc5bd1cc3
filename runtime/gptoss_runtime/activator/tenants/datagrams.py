"""What comes to the usage port: replicas' reports of tokens, and other gateways' reports of their use. Pure."""

from collections.abc import Iterator, Mapping

import msgspec

from gptoss_runtime.activator.tenants.limits import Use
from gptoss_runtime.contract import VERSION
from gptoss_runtime.gateway_contract import Usage


TENANTS_PER_DATAGRAM = 20
"""So many fit one packet of 1,400 bytes with names of ordinary length."""


class Peer(msgspec.Struct):
    """What a gateway says of itself."""

    id: str
    """New for each start of an activator, so that it knows its own reports."""
    uses: dict[str, tuple[int, int, int]]
    """By tenant: requests in the last second, requests now, tokens in the last minute. Idle ones are absent."""


class Datagram(msgspec.Struct, omit_defaults=True):
    """One of the two."""

    version: int
    usage: Usage | None = None
    peer: Peer | None = None


_decode = msgspec.json.Decoder(Datagram).decode
_encode = msgspec.json.Encoder().encode


def read_datagram(data: bytes) -> Usage | Peer | None:
    """Return what a datagram says; None if it is of another version, or nothing that is known here."""
    try:
        datagram = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if datagram.version != VERSION:
        return None
    usage, peer = datagram.usage, datagram.peer
    if usage is not None:
        return usage if min(usage.prompt_tokens, usage.generation_tokens) >= 0 else None
    if peer is not None:
        return peer if all(min(use) >= 0 for use in peer.uses.values()) else None
    return None


def reports(identity: str, uses: Mapping[str, Use]) -> Iterator[bytes]:
    """Yield the datagrams that tell the other gateways what the tenants do here; one if they do nothing."""
    busy = [(tenant, (use.requests, use.running, use.tokens)) for tenant, use in uses.items() if use != Use()]
    for start in range(0, max(len(busy), 1), TENANTS_PER_DATAGRAM):
        part = dict(busy[start : start + TENANTS_PER_DATAGRAM])
        yield _encode(Datagram(version=VERSION, peer=Peer(id=identity, uses=part)))
