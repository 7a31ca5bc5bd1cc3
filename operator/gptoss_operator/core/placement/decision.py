"""What `decide_placement` says, and what it remembers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptoss_operator.core.placement.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneMemory:
    """What is known of spot machines of one pool in one zone."""

    exposure_hours: float = 0.0
    """Hours with at least one replica there, older ones counting less."""
    events: float = 0.0
    """Interruptions there, older ones counting less. Several within three minutes are one."""
    last_event_at: float | None = None
    suspect_until: float | None = None
    blocked_until: float | None = None
    """Until when no machine is asked for there. After that one is, to try."""
    refusals: int = 0
    """How many times in a row no machine came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMemory:
    """What `decide_placement` remembers from one call to the next."""

    zones: Mapping[tuple[str, str], ZoneMemory] = field(default_factory=dict)
    """By zone and pool."""
    clock: float = 0.0
    """The latest `now` that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementTerms:
    """What a placement is made of, in replicas."""

    base: int = 0
    """On-demand replicas that spot never replaces."""
    spot: int = 0
    """Spot replicas that are wanted, extra ones included."""
    extra: int = 0
    """Of these, those against expected losses."""
    cover: float = 0.0
    """What the spot replicas are counted as now."""
    on_demand: int = 0
    """On-demand replicas that are wanted, the base included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """One more replica."""

    place: Place
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """One replica less. It finishes its requests first."""

    slot: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which replicas are created and removed now."""

    creates: tuple[Create, ...]
    removes: tuple[Remove, ...]
    terms: PlacementTerms
    reason: str
    """One sentence; it changes with the placement, not with every second."""
    memory: MarketMemory
