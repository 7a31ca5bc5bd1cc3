"""What one pass hands to the next of the same object. The process keeps it; a new process begins from the status."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.api.status_scaling import ColdStartStatus, DecisionStatus, ZoneStatus
from gptoss_operator.core.dates import seconds_of
from gptoss_operator.core.placement.cost import CostMemory
from gptoss_operator.core.placement.decision import MarketMemory, ZoneMemory
from gptoss_operator.core.rollout.canary import CanaryMemory
from gptoss_operator.core.scaling.decision import ScalingMemory
from gptoss_operator.core.scaling.load import known
from gptoss_operator.core.scaling.replicas import seed


STARTS_KEPT: Final = 50
"""Cold starts that are remembered: enough for a 90th percentile, few enough to follow a new image."""
REPLICA_SECONDS: Final = "replicaSeconds"
"""Name of the term that is taken up again by a new process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPod:
    """A pod on a spot machine, as it was last seen."""

    node: str
    """Empty: it has none yet."""
    zone: str
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How many tokens the replicas have generated, since something is remembered."""

    total: float = 0.0
    last: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """The start and the counter that each replica last told, by the pod's uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one GptOssDeployment. It may be lost at any time: then less is known, nothing is wrong."""

    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    market: MarketMemory = field(default_factory=MarketMemory)
    starts: tuple[float, ...] = ()
    """Seconds of the last cold starts, from the creation of a pod until it was ready, the newest last."""
    starting: frozenset[str] = frozenset()
    """Uids of pods that were seen before they were ready for the first time, and are not yet."""
    told: frozenset[str] = frozenset()
    """Uids of pods that exist and whose loss was told to the placement."""
    spot_pods: Mapping[str, SpotPod] = field(default_factory=dict)
    """Pods on spot machines at the last pass, by uid."""
    tokens: Tokens = Tokens()
    cost: CostMemory = field(default_factory=CostMemory)
    canary: CanaryMemory = field(default_factory=CanaryMemory)
    """How the first replica of a new revision compares with the others."""
    decision: DecisionStatus | None = None
    """The last decision. The status may not tell it yet, where something could not be written."""
    shown_at: float = 0.0
    """When numbers of the status that move all the time were last written, in seconds since 1970."""
    week_kept_at: float = 0.0
    """When the history was last written to its ConfigMap, in seconds since 1970."""


def remembered(status: GptOssStatus, now: datetime) -> Memory:
    """Return the memory of a process that has none of the object: what the status tells, and nothing invented."""
    at = now.timestamp()
    decision = status.last_decision
    target = decision.replicas if decision else status.desired_replicas
    terms = decision.terms if decision else {}
    return Memory(
        scaling=seed(target=target, replica_seconds=_number(terms.get(REPLICA_SECONDS)), now=at),
        market=MarketMemory(
            zones={(zone.zone, zone.pool): _zone(zone, at) for zone in status.zones or ()},
            clock=at,
        ),
        starts=_starts(status.cold_start) if status.cold_start else (),
        shown_at=at,
        week_kept_at=at,
    )


def _zone(zone: ZoneStatus, now: float) -> ZoneMemory:
    suspect_until = seconds_of(zone.suspect_until)
    return ZoneMemory(
        exposure_hours=_number(zone.exposure_hours) or 0.0,
        events=_number(zone.events) or 0.0,
        # What follows shortly is one event with the one that made it suspect.
        last_event_at=None if suspect_until is None else min(suspect_until, now),
        suspect_until=suspect_until,
        blocked_until=seconds_of(zone.blocked_until),
        refusals=1 if zone.blocked_until else 0,
    )


def _starts(told: ColdStartStatus) -> tuple[float, ...]:
    """Return starts that have the percentiles which were told."""
    number = max(0, min(told.starts, STARTS_KEPT))
    usual = math.ceil(number / 2)
    return (float(told.p50_seconds),) * usual + (float(told.p90_seconds),) * (number - usual)


def _number(text: str | None) -> float | None:
    """Return a number that an earlier status told; None for what is none."""
    try:
        return known(float(text)) if text else None
    except ValueError:
        return None
