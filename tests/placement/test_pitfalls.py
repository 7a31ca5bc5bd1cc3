"""Known mistakes of other autoscalers on spot machines, by their number in the project's list."""

from gptoss_operator.core.placement.decision import MarketMemory, ZoneMemory
from gptoss_operator.core.placement.market import Market, Standing, learn
from gptoss_operator.core.placement.places import CapacityType, Interruption, Stage
from tests.placement.world import (
    COLD_START,
    NOW,
    ON_DEMAND,
    ZONES,
    World,
    a_policy,
    a_replica,
    blocked,
    created,
    decide,
    remembering,
    removed,
    spot,
    suspect,
)


def test_pitfall_07_a_spot_machine_that_never_comes_is_not_waited_for() -> None:
    world = World(policy=a_policy(), dry=set(ZONES))
    world.run(110, 3)
    assert sum(r.place == ON_DEMAND for r in world.replicas.values()) == 3
    world.run(600, 3)
    assert world.ready() == 3


def test_pitfall_07_a_replica_that_fails_is_not_counted_on() -> None:
    fleet = [a_replica(0), a_replica(1, spot("a"), Stage.FAILING), a_replica(2, spot("b"))]
    assert created(decide(a_policy(), 3, fleet)) == [ON_DEMAND]


def test_pitfall_07_waiting_in_one_zone_is_covered_and_goes_on_in_another() -> None:
    waiting = [a_replica(0), a_replica(1, spot("a"), Stage.PENDING, age=91)]
    first = decide(a_policy(), 2, waiting)
    assert (removed(first), created(first)) == ([], [ON_DEMAND])
    waiting = [a_replica(0), a_replica(1, spot("a"), Stage.PENDING, age=600)]
    later = decide(a_policy(), 2, waiting)
    assert (removed(later), created(later)) == ([1], [ON_DEMAND, spot("b")])
    assert later.removes[0].reason == "no spot machine came in a for 300 s"


def test_pitfall_07_what_is_refused_at_once_is_asked_for_elsewhere_at_once() -> None:
    fleet = [
        a_replica(0),
        a_replica(1, spot("a"), Stage.PENDING, age=60),
        a_replica(2, spot("a"), Stage.PENDING, age=5),
    ]
    placement = decide(a_policy(), 3, fleet, refused=[spot("a")])
    assert removed(placement) == [2]
    assert created(placement).count(spot("b")) == 1
    everywhere = decide(a_policy(), 3, fleet, refused=[spot(zone) for zone in ZONES])
    assert (removed(everywhere), created(everywhere)) == ([], [ON_DEMAND, ON_DEMAND])


def test_pitfall_17_more_ready_spot_than_wanted_leaves_the_base() -> None:
    fleet = [a_replica(0), *(a_replica(slot, spot("abc"[slot % 3])) for slot in range(1, 8))]
    placement = decide(a_policy(base_on_demand=2), 3, fleet)
    assert created(placement) == [ON_DEMAND]
    assert 0 not in removed(placement)
    assert placement.terms.on_demand == 2


def test_pitfall_18_extra_replicas_are_never_bought_on_demand() -> None:
    risky = {zone: ZoneMemory(events=6.0, exposure_hours=9.0, blocked_until=NOW + 60, refusals=1) for zone in ZONES}
    placement = decide(a_policy(shortfall_penalty=50.0, max_extra=3), 6, memory=remembering(**risky))
    assert created(placement) == [ON_DEMAND] * 6
    open_again = {zone: ZoneMemory(events=6.0, exposure_hours=9.0) for zone in ZONES}
    placement = decide(a_policy(shortfall_penalty=50.0, max_extra=3), 6, memory=remembering(**open_again))
    assert placement.terms.extra > 0
    assert created(placement).count(ON_DEMAND) == placement.terms.base


def test_pitfall_19_a_zone_that_took_machines_is_not_chosen_while_others_are_well() -> None:
    fleet = [a_replica(0), *(a_replica(slot, spot("b")) for slot in (1, 2, 3))]
    for bad in (suspect(), blocked()):
        placement = decide(a_policy(), 8, fleet, memory=remembering(a=bad, c=bad))
        assert {place for place in created(placement) if place != ON_DEMAND} == {spot("b")}


def test_pitfall_20_a_zone_that_flaps_moves_nobody_to_and_fro() -> None:
    for zones in (("a",), ZONES):
        world = World(policy=a_policy(zones=zones))
        world.run(1800, 4)
        world.history.clear()
        for _ in range(24):
            world.take("a")
            world.run(300, 4)
        bought = sum(p == ON_DEMAND for _, placement in world.history for p in created(placement))
        # In two hours, each of the three beyond the base could be bought and returned every ten minutes.
        assert bought <= 2 * 3
        assert world.ready() >= 4


def test_pitfall_21_with_all_zones_blocked_on_demand_covers_in_the_same_decision() -> None:
    placement = decide(a_policy(), 4, [a_replica(0)], refused=[spot(zone) for zone in ZONES])
    assert created(placement) == [ON_DEMAND] * 3


def test_pitfall_22_machines_of_one_zone_lost_together_are_one_event() -> None:
    memory = MarketMemory(clock=NOW - 170)
    for seconds in (0.0, 40.0, 90.0, 179.0):
        moment = NOW + seconds
        lost = (Interruption(zone="a", pool="", at=moment),)
        memory = learn(
            memory, a_policy(), replicas=(), interruptions=lost, refused=(), cold_start=COLD_START, now=moment
        )
        assert round(memory.zones[("a", "")].events, 1) == 1
    later = (Interruption(zone="a", pool="", at=NOW + 181),)
    memory = learn(
        memory, a_policy(), replicas=(), interruptions=later, refused=(), cold_start=COLD_START, now=NOW + 181
    )
    assert round(memory.zones[("a", "")].events, 1) == 2


def test_pitfall_23_the_first_notice_replaces_what_the_zone_is_expected_to_lose() -> None:
    fleet = [
        a_replica(0),
        a_replica(1, spot("a"), Stage.DOOMED),
        *(a_replica(slot, spot("a")) for slot in (2, 3, 4)),
    ]
    calm = remembering(a=ZoneMemory(exposure_hours=50.0))
    lost = [Interruption(zone="a", pool="", at=NOW)]
    placement = decide(a_policy(), 5, fleet, memory=calm, interruptions=lost)
    assert removed(placement) == [1]
    # One is lost, and each of its three siblings with a chance of 0.7.
    elsewhere = created(placement)
    assert len(elsewhere) == 3
    assert {place.zone for place in elsewhere} == {"b", "c"}


def test_pitfall_31_one_interruption_does_not_ban_a_zone_for_hours() -> None:
    lost = [Interruption(zone="a", pool="", at=NOW)]
    memory = decide(a_policy(), 3, memory=remembering(a=ZoneMemory(exposure_hours=2.0)), interruptions=lost).memory
    later = decide(a_policy(), 12, memory=memory, now=NOW + 180)
    assert spot("a") in created(later)
    market = Market(policy=a_policy(), memory=later.memory, cold_start=COLD_START, now=NOW + 180)
    assert market.hazard(("a", "")) < 0.5


def test_pitfall_31_a_zone_that_gave_nothing_is_tried_again_with_one_machine() -> None:
    memory = remembering(a=blocked(until=NOW - 1, refusals=9))
    market = Market(policy=a_policy(), memory=memory, cold_start=COLD_START, now=NOW)
    assert market.standing(("a", "")) is Standing.PROBE
    places = created(decide(a_policy(zones=("a",)), 4, [a_replica(0)], memory=memory))
    assert [place.capacity for place in places].count(CapacityType.SPOT) == 1


def test_pitfall_35_the_successor_of_a_lost_replica_counts_less_while_its_cache_is_cold() -> None:
    """Two of them count 1.4, so that one on-demand replica stays until their caches are warm."""
    lost = ZoneMemory(events=1.0, exposure_hours=20.0, last_event_at=NOW - 500)
    for since, gone in ((290.0, 1), (301.0, 2)):
        fleet = [
            a_replica(0),
            a_replica(1, age=4000),
            a_replica(2, age=4000),
            *(a_replica(slot, spot("bc"[slot % 2]), age=490, since=since) for slot in (3, 4)),
        ]
        placement = decide(a_policy(), 3, fleet, memory=remembering(a=lost))
        assert len(removed(placement)) == gone
        assert placement.creates == ()


def test_pitfall_35_a_replica_that_follows_no_loss_counts_fully_at_once() -> None:
    fleet = [
        a_replica(0),
        a_replica(1, age=4000),
        a_replica(2, age=4000),
        *(a_replica(slot, spot("bc"[slot % 2]), age=490, since=200) for slot in (3, 4)),
    ]
    assert len(removed(decide(a_policy(), 3, fleet))) == 2
