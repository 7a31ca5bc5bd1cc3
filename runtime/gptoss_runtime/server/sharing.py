"""How much of a replica's capacity each gateway may use now. Pure.

Each gateway keeps to its own number, which it hears with its next agent check. So the numbers together may be more than
there is, for as long as demand moves from one gateway to another: until the next check, and until what runs has ended.
What is too much waits in vLLM meanwhile.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from math import ceil


WARM_UP_SECONDS = 10
"""From ready to the full capacity. The first requests after a start compile kernels and fill caches, and all at once
they would wait for each other."""
WARM_UP_FROM = 0.25
"""Share of the capacity at the beginning."""


def warm_capacity(capacity: int, *, ready_seconds: float, warm_up_seconds: float = WARM_UP_SECONDS) -> int:
    """Return the part of `capacity` to grant when the replica has been ready for `ready_seconds`. Never zero."""
    if ready_seconds >= warm_up_seconds:
        return capacity
    share = WARM_UP_FROM + (1 - WARM_UP_FROM) * max(ready_seconds, 0.0) / warm_up_seconds
    return max(1, int(capacity * share))


def grant(capacity: int, gateway: str, gateways: AbstractSet[str], in_flight: Mapping[str, int] | None) -> int:
    """Return how many requests `gateway` may have at the replica, from 1 to `capacity`.

    `in_flight` is the number of requests by address; None when it is unknown, which leaves equal shares.

    What others than gateways have here comes off first. Of the rest, a gateway may use as much as it likes, as long as
    no other gateway that uses less is kept from using the same: the largest number x such that x and all the others,
    each cut down to x, fit. So one that is alone, or alone busy, may use everything; busy ones get equal shares; and
    what idle ones leave is shared by the busy ones.

    Rounded up, so that no place stays empty: gateways that use what they are granted use at most `capacity` and one
    less than their number, once the numbers rest.
    """
    others = gateways - {gateway}
    if in_flight is None:
        return ceil(capacity / (len(others) + 1))
    strangers = sum(count for address, count in in_flight.items() if address not in others and address != gateway)
    left = max(1, capacity - strangers)
    sharers = len(others) + 1
    for used in sorted(in_flight.get(address, 0) for address in others):
        if used * sharers >= left:
            break
        left -= used
        sharers -= 1
    return ceil(left / sharers)
