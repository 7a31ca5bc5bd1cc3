"""Short ways to arrange replicas and markets, and a toy world that carries placements out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gptoss_operator.core.placement.decision import MarketMemory, Placement, ZoneMemory
from gptoss_operator.core.placement.placement import decide_placement
from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy, Prices
from gptoss_operator.core.scaling.supply import ColdStart


NOW = 1_800_000_000.0
LONG_AGO = NOW - 86_400.0
ZONES = ("a", "b", "c")
ON_DEMAND = Place(capacity=CapacityType.ON_DEMAND)
ANYWHERE = Place()
PRICES = Prices(
    table={ON_DEMAND: 3.0, Place(capacity=CapacityType.SPOT): 1.2, Place(capacity=CapacityType.SPOT, zone="b"): 1.1}
)
COLD_START = ColdStart(p50_seconds=300, p90_seconds=600, starts=20)


def spot(zone: str = "", pool: str = "") -> Place:
    return Place(capacity=CapacityType.SPOT, zone=zone, pool=pool)


POLICY = PlacementPolicy(
    spot=True, zones=ZONES, prices=PRICES, pending_seconds=90.0, max_extra=2, shortfall_penalty=3.0
)


def a_policy(**changes: object) -> PlacementPolicy:
    return replace(POLICY, **changes)  # type: ignore[arg-type]


def a_replica(
    slot: int,
    place: Place = ON_DEMAND,
    stage: Stage = Stage.READY,
    *,
    age: float = 86_400.0,
    since: float | None = None,
    in_flight: float | None = 0.0,
    at_risk: bool = False,
) -> PlacedReplica:
    """`age` and `since` are seconds ago."""
    return PlacedReplica(
        slot=slot,
        place=place,
        zone=place.zone,
        stage=stage,
        created_at=NOW - age,
        since=NOW - (age if since is None else since),
        in_flight=in_flight,
        at_risk=at_risk,
    )


def remembering(**zones: ZoneMemory) -> MarketMemory:
    return MarketMemory(zones={(zone, ""): known for zone, known in zones.items()}, clock=NOW)


def blocked(until: float = NOW + 300, refusals: int = 3) -> ZoneMemory:
    return ZoneMemory(blocked_until=until, refusals=refusals)


def suspect() -> ZoneMemory:
    return ZoneMemory(events=1.0, exposure_hours=10.0, last_event_at=NOW, suspect_until=NOW + 100)


def decide(
    policy: PlacementPolicy,
    target: int,
    replicas: Sequence[PlacedReplica] = (),
    *,
    needed_now: float | None = None,
    interruptions: Sequence[Interruption] = (),
    refused: Sequence[Place] = (),
    memory: MarketMemory | None = None,
    now: float = NOW,
) -> Placement:
    return decide_placement(
        policy,
        target,
        needed_now=needed_now,
        replicas=replicas,
        interruptions=interruptions,
        refused=refused,
        memory=memory or MarketMemory(clock=NOW),
        cold_start=COLD_START,
        now=now,
    )


def created(placement: Placement) -> list[Place]:
    return [create.place for create in placement.creates]


def removed(placement: Placement) -> list[int]:
    return [remove.slot for remove in placement.removes]


@dataclass
class World:
    """Carries placements out: machines come after a while, except in zones that are dry, and replicas start."""

    policy: PlacementPolicy
    replicas: dict[int, PlacedReplica] = field(default_factory=dict)
    dry: set[str] = field(default_factory=set)
    machine_seconds: float = 60.0
    start_seconds: float = 200.0
    step_seconds: float = 10.0
    now: float = NOW
    memory: MarketMemory = field(default_factory=MarketMemory)
    interruptions: list[Interruption] = field(default_factory=list)
    history: list[tuple[float, Placement]] = field(default_factory=list)
    """Placements that did something."""

    def run(self, seconds: float, target: int | Callable[[float], int]) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step(target(self.now) if callable(target) else target)
            self.now += self.step_seconds

    def step(self, target: int) -> Placement:
        for slot, replica in self.replicas.items():
            self.replicas[slot] = self._moved_on(replica)
        placement = decide(
            self.policy,
            target,
            tuple(self.replicas.values()),
            interruptions=tuple(self.interruptions),
            memory=self.memory,
            now=self.now,
        )
        self.memory = placement.memory
        self.interruptions.clear()
        if placement.creates or placement.removes:
            self.history.append((self.now, placement))
        for remove in placement.removes:
            del self.replicas[remove.slot]
        for create in placement.creates:
            slot = next(slot for slot in range(1000) if slot not in self.replicas)
            self.replicas[slot] = PlacedReplica(
                slot=slot,
                place=create.place,
                zone=create.place.zone,
                stage=Stage.PENDING,
                created_at=self.now,
                since=self.now,
            )
        return placement

    def take(self, zone: str) -> None:
        """Take all machines of a zone away, with a notice."""
        for slot, replica in self.replicas.items():
            if replica.place == spot(zone) and replica.stage is not Stage.PENDING:
                self.replicas[slot] = replace(replica, stage=Stage.DOOMED, since=self.now)
                self.interruptions.append(Interruption(zone=zone, pool="", at=self.now))

    def ready(self, capacity: CapacityType | None = None) -> int:
        return sum(r.stage is Stage.READY and capacity in (None, r.place.capacity) for r in self.replicas.values())

    def _moved_on(self, replica: PlacedReplica) -> PlacedReplica:
        waited = self.now - replica.since
        comes = replica.place.capacity is not CapacityType.SPOT or replica.place.zone not in self.dry
        if replica.stage is Stage.PENDING and comes and waited >= self.machine_seconds:
            return replace(replica, stage=Stage.STARTING, since=self.now)
        if replica.stage is Stage.STARTING and waited >= self.start_seconds:
            return replace(replica, stage=Stage.READY, since=self.now)
        return replica
