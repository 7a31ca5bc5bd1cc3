"""What is learnt of zones."""

from gptoss_operator.core.placement.decision import MarketMemory, ZoneMemory
from gptoss_operator.core.placement.market import ON_DEMAND_ZONE, Market, Standing, learn, patience_seconds
from gptoss_operator.core.placement.places import Interruption, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.supply import ColdStart
from tests.placement.world import COLD_START, NOW, ON_DEMAND, a_policy, a_replica, blocked, remembering, spot


HOUR = 3600.0


def taken(zone: str = "a", at: float = NOW) -> Interruption:
    return Interruption(zone=zone, pool="", at=at)


def learnt(
    memory: MarketMemory,
    *replicas: PlacedReplica,
    interruptions: tuple[Interruption, ...] = (),
    refused: tuple[Place, ...] = (),
    now: float = NOW,
    policy: PlacementPolicy | None = None,
) -> MarketMemory:
    return learn(
        memory,
        policy or a_policy(),
        replicas=replicas,
        interruptions=interruptions,
        refused=refused,
        cold_start=COLD_START,
        now=now,
    )


def seen(memory: MarketMemory, now: float = NOW) -> Market:
    return Market(policy=a_policy(), memory=memory, cold_start=COLD_START, now=now)


def test_a_zone_that_nothing_is_known_of_has_the_prior_hazard() -> None:
    assert seen(MarketMemory()).hazard(("a", "")) == 0.25


def test_a_zone_is_exposed_once_however_many_replicas_have_a_machine_there() -> None:
    fleet = (
        a_replica(0),
        a_replica(1, spot("a")),
        a_replica(2, spot("a"), Stage.STARTING),
        a_replica(3, spot("a"), Stage.PENDING, age=10),
        a_replica(4, spot("b"), Stage.LOST),
    )
    memory = learnt(MarketMemory(clock=NOW - 60), *fleet)
    assert {key: round(zone.exposure_hours * 60, 6) for key, zone in memory.zones.items()} == {("a", ""): 1.0}


def test_what_was_seen_counts_half_after_six_hours() -> None:
    memory = learnt(remembering(a=ZoneMemory(exposure_hours=8.0, events=4.0)), now=NOW + 6 * HOUR)
    assert memory.zones[("a", "")] == ZoneMemory(exposure_hours=4.0, events=2.0)


def test_a_zone_is_forgotten_when_nothing_is_left_of_it() -> None:
    memory = remembering(a=ZoneMemory(exposure_hours=8.0, events=4.0))
    for day in range(1, 6):
        memory = learnt(memory, now=NOW + day * 24 * HOUR)
    assert memory.zones == {}


def test_a_gap_without_watching_is_no_exposure() -> None:
    memory = learnt(MarketMemory(clock=NOW - 10 * HOUR), a_replica(0, spot("a")))
    assert memory.zones[("a", "")].exposure_hours * HOUR == 600


def test_refusals_double_the_wait_up_to_a_quarter_of_an_hour() -> None:
    memory, now, waits = MarketMemory(clock=NOW), NOW, []
    for _ in range(6):
        memory = learnt(memory, refused=(spot("a"),), now=now)
        until = memory.zones[("a", "")].blocked_until
        assert until is not None
        waits.append(until - now)
        now = until
    assert waits == [60, 120, 240, 480, 900, 900]


def test_several_refusals_at_once_are_one() -> None:
    memory = learnt(MarketMemory(clock=NOW), refused=(spot("a"), spot("a")))
    memory = learnt(memory, refused=(spot("a"),), now=NOW + 5)
    assert memory.zones[("a", "")] == ZoneMemory(refusals=1, blocked_until=NOW + 60)


def test_having_no_machine_while_others_become_ready_is_a_refusal() -> None:
    waiting = a_replica(0, spot("a"), Stage.PENDING, age=301)
    assert seen(learnt(MarketMemory(clock=NOW), waiting)).standing(("a", "")) is Standing.BLOCKED
    waiting = a_replica(0, spot("a"), Stage.PENDING, age=300)
    assert seen(learnt(MarketMemory(clock=NOW), waiting)).standing(("a", "")) is Standing.OPEN


def test_one_is_waited_for_as_long_as_machines_take() -> None:
    policy = a_policy(pending_seconds=90)
    waits = [patience_seconds(policy, ColdStart(p50_seconds=p50)) for p50 in (30, 200, 1200)]
    assert waits == [90, 200, 300]
    assert patience_seconds(a_policy(pending_seconds=600), COLD_START) == 600


def test_a_machine_that_comes_after_the_block_opens_the_zone() -> None:
    memory = remembering(a=blocked(until=NOW - 10, refusals=1))
    assert seen(memory).standing(("a", "")) is Standing.PROBE
    before = a_replica(0, spot("a"), age=500, since=20)
    assert seen(learnt(memory, before)).standing(("a", "")) is Standing.PROBE
    after = a_replica(0, spot("a"), Stage.STARTING, age=500, since=5)
    assert seen(learnt(memory, after)).standing(("a", "")) is Standing.OPEN


def test_on_demand_machines_are_remembered_where_there_are_several_pools() -> None:
    memory = learnt(MarketMemory(clock=NOW), refused=(ON_DEMAND,))
    assert memory.zones == {}
    policy = a_policy(pools=("new", "old"))
    place = Place(capacity=ON_DEMAND.capacity, pool="old")
    memory = learnt(MarketMemory(clock=NOW), refused=(place,), policy=policy)
    assert set(memory.zones) == {(ON_DEMAND_ZONE, "old")}


def test_an_interruption_makes_its_zone_suspect_for_a_while() -> None:
    memory = learnt(MarketMemory(clock=NOW), interruptions=(taken(),))
    assert seen(memory, NOW + 179).standing(("a", "")) is Standing.SUSPECT
    assert seen(memory, NOW + 180).standing(("a", "")) is Standing.OPEN


def test_an_interruption_from_the_future_counts_as_one_of_now() -> None:
    memory = learnt(MarketMemory(clock=NOW), interruptions=(taken(at=NOW + HOUR),))
    assert memory.zones[("a", "")].suspect_until == NOW + 180


def test_a_clock_that_goes_back_adds_nothing_and_locks_no_zone() -> None:
    before = remembering(a=ZoneMemory(exposure_hours=5.0, events=1.0, last_event_at=NOW, suspect_until=NOW + 100))
    after = learnt(before, a_replica(0, spot("a")), now=NOW - HOUR)
    assert after.zones[("a", "")] == ZoneMemory(
        exposure_hours=5.0, events=1.0, last_event_at=NOW - HOUR, suspect_until=NOW - HOUR + 180
    )
    assert (
        seen(learnt(remembering(a=blocked()), now=NOW - HOUR), NOW - HOUR + 900).standing(("a", "")) is Standing.PROBE
    )
