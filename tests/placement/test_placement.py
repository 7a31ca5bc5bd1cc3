"""Which replicas are created and removed, and where."""

from dataclasses import replace

import pytest

from gptoss_operator.core.placement.decision import PlacementTerms, ZoneMemory
from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, Stage
from gptoss_operator.core.placement.policy import PlacementPolicy, Prices
from tests.placement.world import (
    ANYWHERE,
    NOW,
    ON_DEMAND,
    PRICES,
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


WITHOUT_SPOT = PlacementPolicy()


def test_without_spot_creates_up_to_the_target_anywhere() -> None:
    placement = decide(WITHOUT_SPOT, 3, [a_replica(0, ANYWHERE)])
    assert created(placement) == [ANYWHERE, ANYWHERE]
    assert placement.reason == "3 replicas are asked for"
    assert placement.terms == PlacementTerms(base=3, on_demand=3)


@pytest.mark.parametrize("stage", [Stage.PENDING, Stage.STARTING, Stage.READY, Stage.FAILING])
def test_without_spot_every_replica_that_stays_counts(stage: Stage) -> None:
    placement = decide(WITHOUT_SPOT, 2, [a_replica(0, ANYWHERE), a_replica(1, ANYWHERE, stage)])
    assert (placement.creates, placement.removes) == ((), ())


def test_without_spot_failing_replicas_leave_first() -> None:
    fleet = [a_replica(0, ANYWHERE, Stage.FAILING), a_replica(1, ANYWHERE), a_replica(2, ANYWHERE)]
    assert removed(decide(WITHOUT_SPOT, 2, fleet)) == [0]


def test_a_doomed_replica_leaves_and_is_replaced_at_once() -> None:
    placement = decide(WITHOUT_SPOT, 2, [a_replica(0, ANYWHERE, Stage.DOOMED), a_replica(1, ANYWHERE)])
    assert removed(placement) == [0]
    assert created(placement) == [ANYWHERE]


def test_a_lost_replica_is_replaced_and_stays_until_it_comes_back() -> None:
    fleet = [a_replica(0, ANYWHERE, Stage.LOST), a_replica(1, ANYWHERE)]
    placement = decide(WITHOUT_SPOT, 2, fleet)
    assert (created(placement), removed(placement)) == ([ANYWHERE], [])
    back = [a_replica(0, ANYWHERE, in_flight=3), a_replica(1, ANYWHERE, in_flight=1), a_replica(2, ANYWHERE)]
    assert removed(decide(WITHOUT_SPOT, 2, back)) == [2]


def test_target_zero_removes_every_replica() -> None:
    fleet = [a_replica(1, stage=Stage.LOST), a_replica(0), a_replica(2, spot("a"), Stage.DOOMED)]
    placement = decide(a_policy(), 0, fleet)
    assert removed(placement) == [0, 1, 2]
    assert placement.reason == "no replica is asked for"


def test_the_base_is_on_demand_and_the_rest_on_spot_over_all_zones() -> None:
    placement = decide(a_policy(), 4)
    assert created(placement) == [ON_DEMAND, spot("b"), spot("a"), spot("c")]
    assert [create.reason for create in placement.creates] == [
        "on demand for the base, 3.00 $/h",
        "spot in b, 1.10 $/h, 0.2 interruptions/h",
        "spot in a, 1.20 $/h, 0.2 interruptions/h",
        "spot in c, 1.20 $/h, 0.2 interruptions/h",
    ]
    assert placement.reason == "4 replicas are asked for: 1 on demand and 3 on spot"


def test_prices_that_are_not_known_are_not_told() -> None:
    reasons = [create.reason for create in decide(a_policy(prices=Prices(), zones=()), 2).creates]
    assert reasons == ["on demand for the base", "spot, 0.2 interruptions/h"]


def test_waking_starts_both_kinds_and_keeps_the_spot_one() -> None:
    world = World(policy=a_policy(base_on_demand=0))
    world.step(1)
    assert {r.place.capacity for r in world.replicas.values()} == {CapacityType.ON_DEMAND, CapacityType.SPOT}
    world.run(3600, 1)
    assert [r.place.capacity for r in world.replicas.values()] == [CapacityType.SPOT]


def test_waking_without_fallback_starts_spot_alone() -> None:
    assert created(decide(a_policy(base_on_demand=0, fallback=False), 1)) == [spot("b")]


def test_ordinary_growth_on_spot_buys_nothing_on_demand() -> None:
    fleet = [a_replica(0), a_replica(1, spot("a")), a_replica(2, spot("b"))]
    assert created(decide(a_policy(), 6, fleet, needed_now=3.0)) == [spot("c"), spot("b"), spot("a")]


def test_what_the_load_needs_now_waits_only_for_spot_machines_that_can_be_expected() -> None:
    fleet = [a_replica(0), a_replica(1, spot("a"))]
    placement = decide(a_policy(), 4, fleet, needed_now=4.0)
    assert [p.capacity for p in created(placement)] == [CapacityType.SPOT] * 2
    closed = remembering(a=blocked(), b=blocked(NOW - 1), c=blocked(NOW - 1))
    doubtful = decide(a_policy(), 6, fleet, needed_now=6.0, memory=closed)
    assert created(doubtful).count(ON_DEMAND) >= 2


def test_on_demand_cover_leaves_once_spot_has_its_machines() -> None:
    pending = [a_replica(0), a_replica(1, stage=Stage.PENDING, age=20)]
    with_machine = a_replica(2, spot("a"), Stage.STARTING, age=60, since=5)
    assert removed(decide(a_policy(), 2, [*pending, with_machine])) == [1]
    without = a_replica(2, spot("a"), Stage.PENDING, age=60)
    assert removed(decide(a_policy(), 2, [*pending, without])) == []


@pytest.mark.parametrize(
    ("age", "settled", "leaves"),
    [(3600.0, 3600.0, True), (599.0, 3600.0, False), (3600.0, 119.0, False), (600.0, 120.0, True)],
)
def test_a_ready_on_demand_replica_leaves_after_its_time_and_for_a_settled_spot_one(
    age: float, settled: float, *, leaves: bool
) -> None:
    fleet = [a_replica(0, in_flight=5), a_replica(1, age=age), a_replica(2, spot("a"), age=7200, since=settled)]
    assert removed(decide(a_policy(), 2, fleet)) == ([1] if leaves else [])


def test_the_newest_on_demand_replica_is_the_one_that_stands_in() -> None:
    fleet = [a_replica(0, in_flight=0), a_replica(1, age=300, in_flight=5), a_replica(2, spot("a"))]
    assert removed(decide(a_policy(), 2, fleet)) == []
    fleet[1] = a_replica(1, age=700, in_flight=5)
    assert removed(decide(a_policy(), 2, fleet)) == [0]


def test_the_base_grows_in_a_hostile_market() -> None:
    hostile = ZoneMemory(events=36.0, exposure_hours=9.0)
    assert decide(a_policy(), 10, memory=remembering(a=hostile, b=hostile, c=hostile)).terms.base == 6
    assert decide(a_policy(), 10, memory=remembering(a=hostile, b=hostile)).terms.base > 1
    assert decide(a_policy(), 10).terms.base == 1


def test_without_fallback_there_is_the_base_and_nothing_else_on_demand() -> None:
    hostile = ZoneMemory(events=9.0, exposure_hours=5.0, blocked_until=NOW + 60, refusals=1)
    memory = remembering(a=hostile, b=hostile, c=hostile)
    assert created(decide(a_policy(fallback=False), 5, memory=memory, needed_now=5)) == [ON_DEMAND]


def test_extra_replicas_are_worth_their_price_where_losses_are_likely() -> None:
    risky = ZoneMemory(events=6.0, exposure_hours=9.0)
    memory = remembering(a=risky, b=risky, c=risky)
    assert decide(a_policy(shortfall_penalty=9.0), 6, memory=memory).terms.extra > 0
    assert decide(a_policy(shortfall_penalty=9.0, max_extra=0), 6, memory=memory).terms.extra == 0
    assert decide(a_policy(shortfall_penalty=0.0), 6, memory=memory).terms.extra == 0


def test_one_at_risk_serves_on_until_its_successor_is_ready() -> None:
    fleet = [a_replica(0), a_replica(1, spot("a"), at_risk=True)]
    placement = decide(a_policy(), 2, fleet)
    assert (created(placement), removed(placement)) == ([spot("b")], [])
    starting = decide(a_policy(), 2, [*fleet, a_replica(2, spot("b"), Stage.STARTING, age=60)])
    assert (starting.creates, starting.removes) == ((), ())
    ready = decide(a_policy(), 2, [*fleet, a_replica(2, spot("b"), in_flight=0)])
    assert (created(ready), removed(ready)) == ([], [1])


def test_a_shrinking_fleet_removes_what_serves_least() -> None:
    fleet = [
        a_replica(0),
        a_replica(1, spot("a"), in_flight=9),
        a_replica(2, spot("b"), in_flight=1),
        a_replica(3, spot("b"), Stage.STARTING, age=60),
        a_replica(4, spot("a"), in_flight=None),
    ]
    assert removed(decide(a_policy(), 4, fleet)) == [3]
    assert removed(decide(a_policy(), 3, fleet)) == [3, 1]
    even = [*fleet[:3], a_replica(3, spot("c"), in_flight=4)]
    assert removed(decide(a_policy(), 3, even)) == [2]


def test_a_fuller_zone_gives_one_replica_to_an_emptier_one() -> None:
    fleet = [a_replica(0), *(a_replica(slot, spot("a")) for slot in (1, 2)), a_replica(3, spot("b"))]
    moving = decide(a_policy(), 4, fleet)
    assert (created(moving), removed(moving)) == ([spot("c")], [])
    under_way = decide(a_policy(), 4, [*fleet, a_replica(4, spot("c"), Stage.STARTING, age=60)])
    assert (created(under_way), removed(under_way)) == ([], [])
    arrived = decide(a_policy(), 4, [*fleet, a_replica(4, spot("c"), age=300)])
    assert (created(arrived), removed(arrived)) == ([], [2])
    even = [a_replica(0), *(a_replica(slot, spot(zone)) for slot, zone in enumerate("abc", start=1))]
    assert decide(a_policy(), 4, even).creates == ()


def test_half_is_on_demand_while_only_one_zone_gives_machines() -> None:
    memory = remembering(a=blocked(), c=blocked())
    fleet = [a_replica(0), *(a_replica(slot, spot("b")) for slot in range(1, 8))]
    assert decide(a_policy(), 8, fleet, memory=memory).terms.base == 4
    assert decide(a_policy(fallback=False), 8, fleet, memory=memory).terms.base == 1
    elsewhere = [*fleet[:-1], a_replica(7, spot("a"))]
    assert decide(a_policy(), 8, elsewhere, memory=memory).terms.base == 1, "a closed zone that holds one spreads too"


def test_a_suspect_zone_gives_victims_first() -> None:
    fleet = [a_replica(0), *(a_replica(n, spot("abc"[n - 1]), in_flight=n) for n in (1, 2, 3)), a_replica(4, spot("b"))]
    assert removed(decide(a_policy(), 4, fleet, memory=remembering(c=suspect()))) == [3]
    assert removed(decide(a_policy(), 3, fleet, memory=remembering(c=suspect()))) == [3, 4]


def test_removes_no_ready_replica_while_others_are_not_ready() -> None:
    fleet = [a_replica(0, stage=Stage.STARTING), a_replica(1, spot("a")), a_replica(2, spot("b"))]
    assert removed(decide(a_policy(), 2, fleet)) == []


def test_switching_spot_on_replaces_one_at_a_time() -> None:
    world = World(policy=PlacementPolicy())
    world.run(600, 3)
    world.policy = a_policy()
    lowest = 3
    for _ in range(300):
        world.step(3)
        world.now += world.step_seconds
        lowest = min(lowest, world.ready())
        assert len(world.replicas) <= 4
    assert lowest == 3
    assert sorted(r.place for r in world.replicas.values()) == sorted([ON_DEMAND, spot("a"), spot("b")])


def test_switching_spot_off_replaces_spot_replicas_alone() -> None:
    world = World(policy=a_policy())
    world.run(600, 3)
    world.policy = replace(world.policy, spot=False)
    world.run(3000, 3)
    assert sorted(r.place for r in world.replicas.values()) == sorted([ANYWHERE, ANYWHERE, ON_DEMAND])


def test_a_zone_that_is_not_listed_any_more_is_left() -> None:
    world = World(policy=a_policy())
    world.run(600, 4)
    world.policy = replace(world.policy, zones=("b", "c"))
    world.run(3000, 4)
    assert {r.place.zone for r in world.replicas.values()} == {"", "b", "c"}
    assert world.ready() == 4


def test_zones_that_become_known_move_nobody() -> None:
    world = World(policy=a_policy(zones=()))
    world.run(600, 3)
    assert {r.place for r in world.replicas.values()} == {ON_DEMAND, spot()}
    world.history.clear()
    world.policy = a_policy()
    world.run(600, 3)
    assert world.history == []


def test_the_cheapest_pool_is_taken_and_another_one_when_it_gives_nothing() -> None:
    prices = Prices(
        table={Place(capacity=CapacityType.ON_DEMAND, pool="new"): 4.0, replace(ON_DEMAND, pool="old"): 2.0}
    )
    policy = a_policy(pools=("new", "old"), prices=prices, base_on_demand=3)
    old, new = replace(ON_DEMAND, pool="old"), replace(ON_DEMAND, pool="new")
    first = decide(policy, 2)
    assert created(first) == [old, old]
    second = decide(policy, 2, refused=[old], memory=first.memory)
    assert created(second) == [new, new]
    stuck = [a_replica(0, old), a_replica(1, old, Stage.PENDING, age=301)]
    moved = decide(policy, 2, stuck)
    assert (removed(moved), created(moved)) == ([1], [new])


def test_without_spot_pools_are_chosen_by_price_too() -> None:
    prices = Prices(table={replace(ON_DEMAND, pool="new"): 4.0, replace(ON_DEMAND, pool="old"): 2.0})
    assert created(decide(a_policy(spot=False, pools=("new", "old"), prices=prices), 1)) == [Place(pool="old")]
    assert created(decide(a_policy(spot=False, pools=("new", "old"), prices=Prices()), 1)) == [Place(pool="new")]


def test_spot_that_costs_as_much_is_not_asked_for() -> None:
    prices = Prices(table={ON_DEMAND: 1.0, spot(): 1.0})
    assert created(decide(a_policy(prices=prices), 3)) == [ON_DEMAND] * 3


def test_the_reason_stays_the_same_while_the_placement_does() -> None:
    world = World(policy=a_policy())
    world.run(900, 4)
    reasons = set()
    for _ in range(60):
        reasons.add(world.step(4).reason)
        world.now += 60
    assert reasons == {"4 replicas are asked for: 1 on demand and 3 on spot"}


def test_the_reason_names_zones_that_are_avoided() -> None:
    placement = decide(a_policy(), 3, memory=remembering(a=suspect(), b=blocked()))
    assert placement.reason.endswith("; machines were just taken away: a; no machine came: b")


def test_a_lost_zone_is_replaced_elsewhere_and_settles_again() -> None:
    world = World(policy=a_policy())
    world.run(900, 6)
    world.take("a")
    world.run(60, 6)
    assert all(r.place.zone != "a" for r in world.replicas.values())
    world.run(3600, 6)
    assert world.ready() == 6
    assert world.ready(CapacityType.ON_DEMAND) == 1


def test_one_interruption_without_a_zone_is_counted_where_zones_are_not_told_apart() -> None:
    placement = decide(a_policy(zones=()), 2, interruptions=[Interruption(zone="a", pool="", at=NOW)])
    assert placement.memory.zones[("", "")].events == 1
    assert placement.memory.zones[("", "")].suspect_until == NOW + 180


def test_prices_of_the_table_are_used_to_decide() -> None:
    assert PRICES.known(spot("b")) == 1.1
    assert created(decide(a_policy(base_on_demand=0, fallback=False), 1)) == [spot("b")]
