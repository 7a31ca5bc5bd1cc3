"""How many held requests may go on now."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_runtime.activator.haproxy.servers import Replicas, ServerStat


RESERVE_SHARE = 0.25
"""Requests that are sent ahead into HAProxy's queue, as a share of all slots, so that no slot waits for us."""
LEAST_RESERVE = 8
"""The same, where there are few slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How many of the held requests go on, the oldest first."""

    count: int
    reason: str


def how_many(held: int, replicas: Replicas) -> Release:
    """Return how many of `held` requests may go on.

    As many as there are free slots, and a small reserve that waits in HAProxy's own queue. All the others stay here,
    where the bound is the hold's long one: in HAProxy's queue they would be refused after its short one.
    """
    up = replicas.up()
    if not up:
        return Release(count=0, reason="no replica is ready")
    slots = _slots(up)
    if slots is None:
        return Release(count=held, reason="a replica takes any number of requests")
    taken = sum(server.running + server.queued for server in up) + replicas.backend.queued
    reserve = max(LEAST_RESERVE, int(slots * RESERVE_SHARE))
    count = max(0, min(held, slots + reserve - taken))
    return Release(count=count, reason=f"{slots} slots and {reserve} places in the queue, of which {taken} are taken")


def _slots(servers: Sequence[ServerStat]) -> int | None:
    total = 0
    for server in servers:
        if server.slots is None:
            return None
        total += server.slots
    return total
