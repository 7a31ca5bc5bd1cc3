"""What `decide_replicas` has to know of the replicas that exist."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """How long a replica takes from its creation until it is ready, in seconds, from starts that were seen."""

    p50_seconds: float = 300.0
    p90_seconds: float = 600.0
    starts: int = 0
    """How many were seen. Zero: the numbers are assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """The replicas that exist. A rollout's surplus is not among them."""

    existing: int = 0
    """All that stay: starting ones are supply as well."""
    ready: int = 0
    starting: int = 0
    """Not ready, with nothing wrong so far."""
    unsettled: bool = False
    """Whether a replica is being replaced or is about to be lost, so that none should be removed now."""
    replica_hourly_cost: float | None = None
    """What one more replica costs in an hour, at the dearest place it may get. None: there are no prices."""
    cold_start: ColdStart = ColdStart()
