"""What the replicas cost, by the prices that are known. What has no price has no cost: nothing is invented."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import Prices


HOUR_SECONDS: Final = 3600.0
DAY_SECONDS: Final = 24 * HOUR_SECONDS
BUCKET_SECONDS: Final = 300.0
LONGEST_STEP_SECONDS: Final = 900.0
"""Most time between two calls that is charged: what was there for longer, nobody watched."""
MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What was spent within five minutes."""

    start: float
    """In seconds since 1970."""
    dollars: float | None = 0.0
    """None: a part of it had no price."""
    on_demand_dollars: float | None = 0.0
    """What the same replicas would have cost on on-demand machines."""
    tokens: float = 0.0
    """Output tokens that were generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostMemory:
    """What `charge` remembers from one call to the next: a day of buckets."""

    buckets: tuple[Bucket, ...] = ()
    """The oldest first."""
    clock: float | None = None
    """When it was last called. None: never."""
    hourly: float | None = None
    """Dollars per hour since then. None: something has no price."""
    on_demand_hourly: float | None = None
    """The same, if all replicas were on on-demand machines."""
    tokens_total: float | None = None
    """The counter of output tokens then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the replicas cost, in dollars. None: something that counts has no price, or nothing is known yet."""

    hourly: float | None
    """For an hour with the replicas of now."""
    per_million_output_tokens: float | None
    """By the tokens and the cost of the last hour."""
    saved_last_day: float | None
    """Against the same replicas on on-demand machines, in the last 24 hours or since the memory begins."""


def charge(
    memory: CostMemory, places: Iterable[Place | None], prices: Prices, tokens_total: float | None, now: float
) -> CostMemory:
    """Return `memory` with what was spent since the last call, by the replicas of that call.

    `places` are those of the replicas that have a machine now; None is one that has none and costs nothing.
    `tokens_total` counts all output tokens so far; None: not known. A clock that goes back charges nothing.
    """
    known = [place for place in places if place is not None]
    elapsed = 0.0 if memory.clock is None else min(max(0.0, now - memory.clock), LONGEST_STEP_SECONDS)
    tokens = 0.0
    if tokens_total is not None and memory.tokens_total is not None:
        tokens = max(0.0, tokens_total - memory.tokens_total)
    return CostMemory(
        buckets=_spent(memory, elapsed / HOUR_SECONDS, tokens, now),
        clock=now,
        hourly=_sum(_price(prices, place) for place in known),
        on_demand_hourly=_sum(_price(prices, replace(place, capacity=CapacityType.ON_DEMAND)) for place in known),
        tokens_total=memory.tokens_total if tokens_total is None else tokens_total,
    )


def cost_now(memory: CostMemory, now: float) -> Cost:
    """Return what `memory` says of the cost."""
    day = [bucket for bucket in memory.buckets if bucket.start > now - DAY_SECONDS]
    hour = [bucket for bucket in day if bucket.start > now - HOUR_SECONDS]
    spent, tokens = _sum(bucket.dollars for bucket in hour), sum(bucket.tokens for bucket in hour)
    return Cost(
        hourly=memory.hourly,
        per_million_output_tokens=spent / tokens * MILLION if spent is not None and tokens > 0 else None,
        saved_last_day=_sum(_saved(bucket) for bucket in day) if day else None,
    )


def _saved(bucket: Bucket) -> float | None:
    if bucket.dollars is None or bucket.on_demand_dollars is None:
        return None
    return bucket.on_demand_dollars - bucket.dollars


def _spent(memory: CostMemory, hours: float, tokens: float, now: float) -> tuple[Bucket, ...]:
    """Return the buckets of a day, with what was spent in the last of them."""
    if not hours and not tokens:
        return memory.buckets
    kept = memory.buckets
    while kept and kept[0].start <= now - DAY_SECONDS:
        kept = kept[1:]
    # While a clock that went back has not caught up, the last bucket takes all.
    if kept and now < kept[-1].start + BUCKET_SECONDS:
        last, kept = kept[-1], kept[:-1]
    else:
        last = Bucket(start=now // BUCKET_SECONDS * BUCKET_SECONDS)
    return (
        *kept,
        Bucket(
            start=last.start,
            dollars=_add(last.dollars, memory.hourly, hours),
            on_demand_dollars=_add(last.on_demand_dollars, memory.on_demand_hourly, hours),
            tokens=last.tokens + tokens,
        ),
    )


def _add(dollars: float | None, hourly: float | None, hours: float) -> float | None:
    if not hours:
        return dollars
    return None if dollars is None or hourly is None else dollars + hourly * hours


def _price(prices: Prices, place: Place) -> float | None:
    """Return the price of a place. Where no spot machine has a price, any machine is taken to be on demand."""
    if place.capacity is not CapacityType.ANY:
        return prices.known(place)
    if prices.known(replace(place, capacity=CapacityType.SPOT)) is not None:
        return None
    return prices.known(replace(place, capacity=CapacityType.ON_DEMAND))


def _sum(parts: Iterable[float | None]) -> float | None:
    """Return the sum, or None if a part is not known."""
    total = 0.0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
