"""Spot machines that cannot be had, and that are taken away."""

import pytest

from gptoss_operator.core.placement.places import Stage
from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.engine import simulate
from tests.sim.builders import ON_DEMAND, Told, a_market, a_scenario, spot


READY_AT = 280.0
"""When replicas are ready that were created at 10 s."""


def both_zones(**more: Orders) -> dict[float, Orders]:
    return {10.0: Orders(creates=(spot("a"), spot("b"))), **{float(at[3:]): orders for at, orders in more.items()}}


def stages(view: View) -> dict[int, Stage]:
    return {replica.slot: replica.stage for replica in view.replicas}


def test_a_notice_lets_a_replica_finish_what_it_has_and_takes_nothing_new() -> None:
    # 50 s of tokens from 290 s on; the notice comes at 305 s.
    policy = Told(at=both_zones(), eager=True)
    rows = [(290.0, 0, 500), (290.0, 0, 500), (310.0, 0, 10)]
    market = a_market([(305.0, "a", 0)])
    result = simulate(a_scenario(rows, initial=0, market=market), policy, 1)
    assert (result.interruptions, result.lost, result.retried, result.served) == (1, 0, 0, 3)
    seen = policy.seen(305.0)
    assert (seen.now, stages(seen)) == (305.0, {0: Stage.DOOMED, 1: Stage.READY})
    assert [(interruption.zone, interruption.at) for interruption in seen.interruptions] == [("a", 305.0)]
    assert policy.seen(310.0).interruptions == ()
    # It goes when its request has ended, not when its machine would have.
    assert stages(policy.seen(350.0)) == {1: Stage.READY}
    assert result.spot_hours == pytest.approx((340 - 110 + 1000 - 110) / 3600)


def test_a_notice_shorter_than_an_answer_breaks_it_off() -> None:
    market = a_market([(300.0, "a", 0)], notice=30.0)
    result = simulate(
        a_scenario([(290.0, 0, 500)], initial=0, market=market), Told(at={10.0: Orders(creates=(spot("a"),))}), 1
    )
    assert (result.lost, result.served, result.retried) == (1, 0, 0)


def test_requests_without_a_first_token_begin_again_elsewhere() -> None:
    # The prompt takes 50 s; the machine goes after 35 s of it, and the other replica takes the request.
    policy = Told(at={10.0: Orders(creates=(spot("a"),)), 290.0: Orders(creates=(ON_DEMAND,))})
    market = a_market([(560.0, "a", 0)], notice=30.0)
    result = simulate(a_scenario([(555.0, 50_000, 10)], initial=0, market=market, patience=100.0), policy, 1)
    assert (result.retried, result.lost, result.served) == (1, 0, 1)
    assert result.ttft_p50 == pytest.approx(35.0 + 50.1, abs=0.01)


def test_a_policy_that_heeds_no_notice_goes_on_until_the_machine_is_gone() -> None:
    policy = Told(at=both_zones(), drains_on_notice=False, eager=True)
    rows = [(405.0, 0, 500), (405.0, 0, 500), (421.0, 0, 10), (421.0, 0, 10)]
    market = a_market([(300.0, "a", 0)])
    result = simulate(a_scenario(rows, initial=0, market=market), policy, 1)
    assert stages(policy.seen(400.0)) == {0: Stage.READY, 1: Stage.READY}
    assert policy.seen(310.0).interruptions == ()
    # Gone at 420 s, seen at 422 s: one is lost, and one that was sent there in between begins again.
    assert [interruption.at for interruption in policy.seen(420.1).interruptions] == [422.0]
    assert (result.lost, result.retried, result.served) == (1, 1, 3)
    assert result.spot_hours == pytest.approx((420 - 110 + 1000 - 110) / 3600)


def test_a_machine_that_goes_without_notice_is_seen_after_two_seconds() -> None:
    policy = Told(at=both_zones(), eager=True)
    rows = [(290.0, 0, 500), (290.0, 0, 500), (301.0, 0, 10), (301.0, 0, 10)]
    market = a_market([(300.0, "a", 0)], missing=1.0)
    result = simulate(a_scenario(rows, initial=0, market=market), policy, 1)
    assert (result.lost, result.retried, result.served) == (1, 1, 3)
    assert [interruption.at for interruption in policy.seen(300.1).interruptions] == [302.0]


def test_siblings_of_the_first_are_told_within_the_spread() -> None:
    policy = Told(at={10.0: Orders(creates=(spot("a"),) * 4)}, eager=True)
    market = a_market([(500.0, "a", 1)], spread=180.0)
    result = simulate(a_scenario(initial=0, market=market), policy, 3)
    told = [interruption.at for view in policy.views for interruption in view.interruptions]
    assert (len(told), told[0], result.interruptions) == (3, 500.0, 3)
    assert all(500.0 < at <= 680.0 for at in told[1:])


def test_a_machine_alone_is_taken_at_its_hazard() -> None:
    scenario = a_scenario(initial=0, duration=200_000.0, market=a_market(hazard=1.0))

    def keep_ten(view: View) -> Orders:
        staying = sum(replica.stage is not Stage.DOOMED for replica in view.replicas)
        return Orders(creates=(spot("a"),) * (10 - staying))

    result = simulate(scenario, Told(always=keep_ten, interval_seconds=60.0), 1)
    assert result.interruptions / result.spot_hours == pytest.approx(1.0, rel=0.15)


def test_no_machine_is_given_that_a_zone_does_not_have() -> None:
    policy = Told(at={10.0: Orders(creates=(spot("a"),) * 3)})
    market = a_market([(0.0, "a", 1), (500.0, "a", 2)])
    simulate(a_scenario(initial=0, market=market), policy, 1)
    assert policy.seen(20.0).refused == (spot("a"), spot("a"))
    assert policy.seen(30.0).refused == ()
    assert stages(policy.seen(490.0)) == {0: Stage.READY, 1: Stage.PENDING, 2: Stage.PENDING}
    # The second one asked is served first, when there is another machine.
    assert stages(policy.seen(600.0)) == {0: Stage.READY, 1: Stage.STARTING, 2: Stage.PENDING}


def test_a_slow_cloud_says_late_that_it_has_no_machine() -> None:
    policy = Told(at={10.0: Orders(creates=(spot("a"), spot("a"))), 50.0: Orders(removes=(1,))})
    market = a_market([(0.0, "a", 0)], refusal=100.0)
    simulate(a_scenario(initial=0, market=market), policy, 1)
    assert [(view.now, view.refused) for view in policy.views if view.refused] == [(110.0, (spot("a"),))]


def test_a_machine_that_is_given_back_goes_to_the_next_who_waits() -> None:
    policy = Told(at={10.0: Orders(creates=(spot("a"), spot("a"))), 400.0: Orders(removes=(0,))})
    simulate(a_scenario(initial=0, market=a_market([(0.0, "a", 1)])), policy, 1)
    assert stages(policy.seen(500.0)) == {1: Stage.STARTING}


def test_a_machine_on_its_way_is_refused_when_the_zone_dries_up() -> None:
    policy = Told(at={10.0: Orders(creates=(spot("a"),))})
    result = simulate(a_scenario(initial=0, market=a_market([(55.0, "a", 0), (500.0, "a", 9)])), policy, 1)
    assert policy.seen(60.0).refused == (spot("a"),)
    assert stages(policy.seen(490.0)) == {0: Stage.PENDING}
    assert (result.interruptions, result.spot_hours) == pytest.approx((0, 400 / 3600))
    # The operator sees when a pod was created and when it was ready, whatever it waited for.
    assert policy.views[-1].cold_start.p50_seconds == 760.0


def test_any_zone_is_the_one_with_most_machines_left() -> None:
    policy = Told(at={10.0: Orders(creates=(spot(""), spot(""), spot("")))})
    simulate(a_scenario(initial=0, market=a_market([(0.0, "a", 1), (0.0, "b", 2)])), policy, 1)
    assert sorted(replica.zone for replica in policy.seen(20.0).replicas) == ["a", "b", "b"]


def test_the_tenth_launch_takes_equally_long_under_every_policy() -> None:
    def ready_at(creates: dict[float, Orders]) -> float:
        policy = Told(at=creates, interval_seconds=1.0)
        simulate(a_scenario(market=a_market([(0.0, "a", 3)])), policy, 5)
        return next(r.since - r.created_at for r in policy.views[-1].replicas if r.slot == 3)

    many = Orders(creates=(ON_DEMAND, spot("a"), spot("b")))
    assert ready_at({10.0: many}) == pytest.approx(
        ready_at({50.0: Orders(creates=(spot("b"),)), 70.0: Orders(creates=(ON_DEMAND, ON_DEMAND))})
    )
