"""What holds of every placement, whatever the replicas, the market and the policy."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.core.placement.decision import MarketMemory, Placement, ZoneMemory
from gptoss_operator.core.placement.draft import fits
from gptoss_operator.core.placement.market import Market, Standing
from gptoss_operator.core.placement.places import STAYING, CapacityType, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from tests.placement.world import ANYWHERE, COLD_START, NOW, ON_DEMAND, ZONES, World, a_policy, decide, spot


PLACES = (ANYWHERE, ON_DEMAND, spot(), *(spot(zone) for zone in ZONES), spot("gone"))
MOMENTS = st.floats(NOW - 4000, NOW + 1000)

policies = st.builds(
    a_policy,
    spot=st.booleans(),
    fallback=st.booleans(),
    base_on_demand=st.integers(0, 4),
    max_extra=st.integers(0, 3),
    shortfall_penalty=st.floats(0, 20),
    zones=st.sampled_from([(), ("a",), ZONES]),
)
zones = st.builds(
    ZoneMemory,
    exposure_hours=st.floats(0, 100),
    events=st.floats(0, 10),
    last_event_at=st.none() | MOMENTS,
    suspect_until=st.none() | MOMENTS,
    blocked_until=st.none() | MOMENTS,
    refusals=st.integers(0, 6),
)
memories = st.builds(
    MarketMemory,
    zones=st.dictionaries(st.tuples(st.sampled_from(["", *ZONES]), st.just("")), zones),
    clock=st.just(NOW - 5),
)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[PlacedReplica, ...]:
    fleet = []
    for slot in draw(st.lists(st.integers(0, 20), unique=True, max_size=10)):
        place = draw(st.sampled_from(PLACES))
        created = draw(MOMENTS)
        fleet.append(
            PlacedReplica(
                slot=slot,
                place=place,
                zone=place.zone,
                stage=draw(st.sampled_from(Stage)),
                created_at=created,
                since=created + draw(st.floats(0, 1000)),
                in_flight=draw(st.none() | st.floats(allow_nan=True)),
                at_risk=draw(st.booleans()),
            )
        )
    return tuple(fleet)


needs = st.none() | st.floats(allow_nan=True, min_value=None)


def kept(placement: Placement, fleet: Sequence[PlacedReplica]) -> list[PlacedReplica]:
    gone = {remove.slot for remove in placement.removes}
    return [replica for replica in fleet if replica.slot not in gone]


def on_demand_of(policy: PlacementPolicy, placement: Placement, fleet: Sequence[PlacedReplica]) -> int:
    live = [r for r in kept(placement, fleet) if r.stage in STAYING and fits(policy, r)]
    return sum(place.capacity is not CapacityType.SPOT for place in _places(placement, live))


def _places(placement: Placement, live: Sequence[PlacedReplica]) -> list[Place]:
    return [*(r.place for r in live), *(create.place for create in placement.creates)]


@given(policy=policies, target=st.integers(-1, 8), fleet=fleets(), memory=memories, need=needs)
@settings(max_examples=200, deadline=None)
def test_bounds_hold_for_any_fleet_and_market(
    policy: PlacementPolicy, target: int, fleet: tuple[PlacedReplica, ...], memory: MarketMemory, need: float | None
) -> None:
    placement = decide(policy, target, fleet, memory=memory, needed_now=need)
    slots = [remove.slot for remove in placement.removes]
    assert len(slots) == len(set(slots))
    assert set(slots) <= {replica.slot for replica in fleet}
    assert all(create.reason for create in placement.creates)
    assert all(remove.reason for remove in placement.removes)
    if target <= 0:
        assert set(slots) == {replica.slot for replica in fleet}
        assert not placement.creates
        return
    ready = sum(replica.stage is Stage.READY for replica in fleet)
    stays = sum(replica.stage is Stage.READY for replica in kept(placement, fleet))
    assert stays >= min(ready, target)
    assert not any(r.stage is Stage.DOOMED for r in kept(placement, fleet))
    assert all(r.stage is not Stage.LOST for r in fleet if r.slot in slots)
    on_demand = on_demand_of(policy, placement, fleet)
    assert on_demand <= target
    if all(fits(policy, replica) for replica in fleet if replica.stage in STAYING):
        assert on_demand >= min(policy.base_on_demand if policy.spot else target, target)
    spots = sum(create.place.capacity is CapacityType.SPOT for create in placement.creates)
    assert spots <= placement.terms.spot
    assert placement.terms.extra <= policy.max_extra


@given(policy=policies, target=st.integers(1, 8), fleet=fleets(), memory=memories)
@settings(deadline=None)
def test_no_zone_is_asked_that_is_avoided_while_another_is_open(
    policy: PlacementPolicy, target: int, fleet: tuple[PlacedReplica, ...], memory: MarketMemory
) -> None:
    placement = decide(policy, target, fleet, memory=memory)
    market = Market(policy=policy, memory=placement.memory, cold_start=COLD_START, now=NOW)
    asked = [create.place for create in placement.creates if create.place.capacity is CapacityType.SPOT]
    standings = [market.standing((place.zone, place.pool)) for place in asked]
    assert Standing.BLOCKED not in standings
    if Standing.SUSPECT in standings:
        assert not policy.fallback
        assert Standing.OPEN not in {market.standing((zone, "")) for zone in policy.zones or ("",)}


@given(policy=policies, target=st.integers(0, 8), fleet=fleets(), memory=memories, data=st.data())
@settings(deadline=None)
def test_the_order_of_what_is_seen_does_not_matter(
    policy: PlacementPolicy, target: int, fleet: tuple[PlacedReplica, ...], memory: MarketMemory, data: st.DataObject
) -> None:
    shuffled = tuple(data.draw(st.permutations(fleet)))
    assert decide(policy, target, fleet, memory=memory) == decide(policy, target, shuffled, memory=memory)


@given(policy=policies, targets=st.lists(st.integers(1, 8), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_a_calm_world_comes_to_rest_at_the_target(policy: PlacementPolicy, targets: list[int]) -> None:
    world = World(policy=policy, step_seconds=20)
    for target in targets:
        world.run(2400, target)
    world.history.clear()
    world.run(1800, targets[-1])
    assert world.history == []
    assert world.ready() >= targets[-1]
    assert world.ready() <= targets[-1] + policy.max_extra


@given(first=policies, second=policies, target=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_another_policy_is_reached_without_losing_a_ready_replica(
    first: PlacementPolicy, second: PlacementPolicy, target: int
) -> None:
    world = World(policy=first, step_seconds=20)
    world.run(1800, target)
    world.policy = second
    for _ in range(600):
        world.step(target)
        world.now += world.step_seconds
        assert world.ready() >= target
    world.history.clear()
    world.run(1800, target)
    assert world.history == []
    assert all(fits(second, replica) for replica in world.replicas.values())


@given(policy=policies, target=st.integers(1, 8), fleet=fleets(), memory=memories)
@settings(deadline=None)
def test_carrying_a_placement_out_leaves_nothing_more_to_create(
    policy: PlacementPolicy, target: int, fleet: tuple[PlacedReplica, ...], memory: MarketMemory
) -> None:
    fleet = tuple(replica for replica in fleet if fits(policy, replica))
    first = decide(policy, target, fleet, memory=memory)
    slots = (slot for slot in range(100) if slot not in {replica.slot for replica in fleet})
    fresh = [
        PlacedReplica(slot=slot, place=c.place, zone=c.place.zone, stage=Stage.PENDING, created_at=NOW, since=NOW)
        for slot, c in zip(slots, first.creates, strict=False)
    ]
    after = [*kept(first, fleet), *fresh]
    second = decide(policy, target, after, memory=replace(first.memory, clock=NOW))
    assert second.creates == ()
