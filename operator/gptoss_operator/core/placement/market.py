"""What is learnt of machines: how often spot ones are taken away in each zone, and where none come."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gptoss_operator.core.placement.decision import MarketMemory, ZoneMemory
from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.supply import ColdStart


ON_DEMAND_ZONE: Final = "OnDemand"
"""Stands for the zone where what is remembered is of a pool's on-demand machines. No zone is called so."""
HALF_LIFE_SECONDS: Final = 6 * 3600.0
"""After which what was seen of a zone counts half."""
PRIOR_HAZARD: Final = 0.25
"""Interruptions per hour that are assumed of a zone nothing is known of."""
PRIOR_HOURS: Final = 1.0
"""Hours that this assumption weighs as much as."""
SAME_EVENT_SECONDS: Final = 180.0
"""Interruptions of one zone within this time are one event: nine of ten that share a cause are (arXiv 2604.16457)."""
BLOCK_SECONDS: Final = 60.0
BLOCK_MAX_SECONDS: Final = 900.0
"""A zone that gives no machine is left alone for the former, twice as long each time, and at most for the latter."""
PATIENCE_MAX_SECONDS: Final = 300.0
"""How long a machine may take at most, where a cold start takes longer: the rest of that is the model's."""
LONGEST_STEP_SECONDS: Final = 600.0
"""Most time between two calls that counts as exposure: nobody watched for longer."""
NEGLIGIBLE: Final = 1e-3
"""Hours or events below which a zone is forgotten."""

Key = tuple[str, str]
"""Zone and pool."""
NOTHING: Final = ZoneMemory()
ON_A_MACHINE: Final = frozenset({Stage.STARTING, Stage.READY, Stage.DOOMED})


class Standing(StrEnum):
    """Whether a machine may be asked for somewhere."""

    OPEN = "Open"
    PROBE = "Probe"
    """None came last time. One may be asked for, to try."""
    SUSPECT = "Suspect"
    """A machine was taken away a moment ago."""
    BLOCKED = "Blocked"
    """None came a moment ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What is known of machines at one moment."""

    policy: PlacementPolicy
    memory: MarketMemory
    cold_start: ColdStart
    now: float

    @property
    def lead_hours(self) -> float:
        """How long a lost replica is missing, in hours."""
        return self.cold_start.p90_seconds / 3600

    def hazard(self, key: Key) -> float:
        """Return the interruptions per hour that are reckoned with, of all machines of a zone together."""
        zone = self.memory.zones.get(key, NOTHING)
        return (zone.events + PRIOR_HAZARD * PRIOR_HOURS) / (zone.exposure_hours + PRIOR_HOURS)

    def standing(self, key: Key) -> Standing:
        """Return whether a machine may be asked for there."""
        zone = self.memory.zones.get(key)
        if zone is None:
            return Standing.OPEN
        if zone.blocked_until is not None and self.now < zone.blocked_until:
            return Standing.BLOCKED
        if zone.suspect_until is not None and self.now < zone.suspect_until:
            return Standing.SUSPECT
        return Standing.PROBE if zone.refusals else Standing.OPEN

    def follows_a_loss(self, created_at: float) -> bool:
        """Return whether what was created then takes the place of a machine that was taken away."""
        events = (zone.last_event_at for zone in self.memory.zones.values())
        return any(at is not None and 0 <= created_at - at <= SAME_EVENT_SECONDS for at in events)

    def loss(self, key: Key) -> float:
        """Return the chance that the machines there are gone before a replacement is ready."""
        return 1 - math.exp(-self.hazard(key) * self.lead_hours)


def key_of(policy: PlacementPolicy, place: Place, zone: str = "") -> Key:
    """Return what a replica with `place` that is in `zone` is remembered under. An empty zone: that of the place."""
    if place.capacity is not CapacityType.SPOT:
        return ON_DEMAND_ZONE, place.pool
    return (zone or place.zone) if policy.zones else "", place.pool


def patience_seconds(policy: PlacementPolicy, cold_start: ColdStart) -> float:
    """Return how long one waits for a machine until it is asked for elsewhere.

    Machines that were granted take minutes to start, too, and to give one of them up loses that time. One that has not
    come while others became ready does not come.
    """
    return max(policy.pending_seconds, min(cold_start.p50_seconds, PATIENCE_MAX_SECONDS))


def overdue(policy: PlacementPolicy, replica: PlacedReplica, now: float) -> bool:
    """Return whether it has waited for a machine for so long that it is not counted on."""
    return replica.stage is Stage.PENDING and now - replica.since > policy.pending_seconds


def stuck(policy: PlacementPolicy, cold_start: ColdStart, replica: PlacedReplica, now: float) -> bool:
    """Return whether it has waited for a machine for so long that none will come."""
    return replica.stage is Stage.PENDING and now - replica.since > patience_seconds(policy, cold_start)


def learn(
    memory: MarketMemory,
    policy: PlacementPolicy,
    *,
    replicas: Sequence[PlacedReplica],
    interruptions: Iterable[Interruption],
    refused: Iterable[Place],
    cold_start: ColdStart,
    now: float,
) -> MarketMemory:
    """Return `memory` with what was seen since.

    A clock that goes back adds nothing, and no zone is then avoided for longer than it could have been.
    """
    elapsed = max(0.0, now - memory.clock) if memory.clock else 0.0
    zones = _aged(memory.zones, policy, elapsed, now)
    keyed = [(key_of(policy, replica.place, replica.zone), replica) for replica in replicas]
    hours = min(elapsed, LONGEST_STEP_SECONDS) / 3600
    # A zone is exposed once, however many replicas it has: its machines go together, as one event.
    exposed = {k for k, r in keyed if r.place.capacity is CapacityType.SPOT and r.stage in ON_A_MACHINE}
    for key in sorted(exposed) if hours else ():
        zone = zones.get(key, NOTHING)
        zones[key] = replace(zone, exposure_hours=zone.exposure_hours + hours)
    for interruption in sorted(interruptions, key=lambda i: (i.at, i.zone, i.pool)):
        key = (interruption.zone if policy.zones else "", interruption.pool)
        zones[key] = _interrupted(zones.get(key, NOTHING), policy, min(interruption.at, now))
    for key, replica in keyed:
        known = zones.get(key)
        if known and known.refusals and _granted_since(known, replica):
            zones[key] = replace(known, refusals=0, blocked_until=None)
    without = {key_of(policy, place) for place in refused} | {
        key for key, replica in keyed if stuck(policy, cold_start, replica, now)
    }
    for key in without:
        # With one pool there is no other place to ask for an on-demand machine, so that there is nothing to avoid.
        if key[0] != ON_DEMAND_ZONE or len(policy.pools) > 1:
            zones[key] = _refused(zones.get(key, NOTHING), now)
    return MarketMemory(zones=dict(sorted(zones.items())), clock=now)


def _aged(
    zones: Mapping[Key, ZoneMemory], policy: PlacementPolicy, elapsed: float, now: float
) -> dict[Key, ZoneMemory]:
    """Return `zones` after `elapsed` seconds, without those that nothing worth knowing is left of."""
    fade = 0.5 ** (elapsed / HALF_LIFE_SECONDS)
    aged: dict[Key, ZoneMemory] = {}
    for key, zone in zones.items():
        suspect_until = _bounded(zone.suspect_until, now + policy.suspect_seconds)
        left = ZoneMemory(
            exposure_hours=zone.exposure_hours * fade,
            events=zone.events * fade,
            last_event_at=_bounded(zone.last_event_at, now),
            suspect_until=suspect_until if suspect_until is not None and suspect_until > now else None,
            blocked_until=_bounded(zone.blocked_until, now + BLOCK_MAX_SECONDS),
            refusals=zone.refusals,
        )
        if left.refusals or left.suspect_until or max(left.exposure_hours, left.events) >= NEGLIGIBLE:
            aged[key] = left
    return aged


def _bounded(moment: float | None, latest: float) -> float | None:
    return None if moment is None else min(moment, latest)


def _interrupted(zone: ZoneMemory, policy: PlacementPolicy, at: float) -> ZoneMemory:
    """Return `zone` after a machine there was taken away. The siblings of the first are no further event."""
    suspect_until = max(zone.suspect_until or 0.0, at + policy.suspect_seconds)
    if zone.last_event_at is not None and at - zone.last_event_at < SAME_EVENT_SECONDS:
        return replace(zone, suspect_until=suspect_until)
    return replace(zone, events=zone.events + 1, last_event_at=at, suspect_until=suspect_until)


def _refused(zone: ZoneMemory, now: float) -> ZoneMemory:
    """Return `zone` after no machine came. Requests from before it was blocked say nothing new."""
    if zone.blocked_until is not None and now < zone.blocked_until:
        return zone
    return replace(zone, refusals=zone.refusals + 1, blocked_until=now + _block_seconds(zone.refusals))


def _block_seconds(refusals_before: int) -> float:
    return min(BLOCK_SECONDS * 2.0 ** min(refusals_before, 10), BLOCK_MAX_SECONDS)


def _granted_since(zone: ZoneMemory, replica: PlacedReplica) -> bool:
    """Return whether `replica` got its machine after the last refusal."""
    if zone.blocked_until is None:
        return False
    blocked_at = zone.blocked_until - _block_seconds(zone.refusals - 1)
    if replica.stage is Stage.STARTING:
        return replica.since > blocked_at
    return replica.stage is Stage.READY and replica.created_at > blocked_at
