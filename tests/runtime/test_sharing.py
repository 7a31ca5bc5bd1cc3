from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.server.gateways import LIVE_SECONDS, Gateways
from gptoss_runtime.server.sharing import grant, warm_capacity


NAMES = "abcdefgh"
CAPACITIES = st.integers(1, 500)
COUNTS = st.dictionaries(st.sampled_from([*NAMES, "stranger"]), st.integers(1, 600))
GATEWAYS = st.frozensets(st.sampled_from(NAMES), min_size=1)


def grants(capacity: int, gateways: frozenset[str], in_flight: dict[str, int]) -> dict[str, int]:
    return {gateway: grant(capacity, gateway, gateways, in_flight) for gateway in gateways}


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        ({}, {"a": 100, "b": 100, "c": 100, "d": 100}),
        ({"a": 40}, {"a": 100, "b": 60, "c": 60, "d": 60}),
        ({"a": 100}, {"a": 100, "b": 50, "c": 50, "d": 50}),
        ({"a": 100, "b": 10}, {"a": 90, "b": 50, "c": 45, "d": 45}),
        ({"a": 100, "b": 100}, {"a": 50, "b": 50, "c": 34, "d": 34}),
        ({"a": 30, "b": 30, "c": 30, "d": 30}, {"a": 25, "b": 25, "c": 25, "d": 25}),
        ({"stranger": 20}, {"a": 80, "b": 80, "c": 80, "d": 80}),
        ({"stranger": 500, "a": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}),
    ],
)
def test_shares_a_hundred_among_four(in_flight: dict[str, int], expected: dict[str, int]) -> None:
    assert grants(100, frozenset("abcd"), in_flight) == expected


@pytest.mark.parametrize(("capacity", "count", "expected"), [(100, 1, 100), (100, 3, 34), (2, 5, 1)])
def test_shares_are_equal_while_nothing_is_known(capacity: int, count: int, expected: int) -> None:
    gateways = frozenset(NAMES[:count])
    assert {grant(capacity, gateway, gateways, None) for gateway in gateways} == {expected}


@given(CAPACITIES, GATEWAYS, st.none() | COUNTS)
def test_a_grant_is_never_nothing_and_never_more_than_there_is(
    capacity: int, gateways: frozenset[str], in_flight: dict[str, int] | None
) -> None:
    for gateway in gateways:
        assert 1 <= grant(capacity, gateway, gateways, in_flight) <= capacity


@given(CAPACITIES, GATEWAYS)
def test_the_only_busy_gateway_gets_everything(capacity: int, gateways: frozenset[str]) -> None:
    for gateway in gateways:
        assert grant(capacity, gateway, gateways, {gateway: capacity}) == capacity


@given(CAPACITIES, GATEWAYS, COUNTS)
def test_a_gateway_never_gets_less_than_its_fair_share(
    capacity: int, gateways: frozenset[str], in_flight: dict[str, int]
) -> None:
    strangers = sum(count for name, count in in_flight.items() if name not in gateways)
    fair = ceil(max(1, capacity - strangers) / len(gateways))
    assert min(grants(capacity, gateways, in_flight).values()) >= fair


@given(CAPACITIES, GATEWAYS, COUNTS, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 600)))
def test_use_settles_within_the_capacity_and_leaves_no_place_empty(
    capacity: int, gateways: frozenset[str], before: dict[str, int], demand: dict[str, int]
) -> None:
    wanted = {gateway: demand.get(gateway, 0) for gateway in gateways}
    used = {gateway: count for gateway, count in before.items() if gateway in gateways}
    for _ in range(4):
        granted = grants(capacity, gateways, used)
        used = {gateway: min(wanted[gateway], granted[gateway]) for gateway in gateways}
    assert sum(used.values()) < capacity + len(gateways)
    assert sum(used.values()) >= min(capacity, sum(wanted.values()))
    # All that want more than they get have the same.
    assert len({used[gateway] for gateway in gateways if wanted[gateway] > used[gateway]}) <= 1


@given(CAPACITIES, GATEWAYS, COUNTS)
def test_when_all_use_what_they_were_granted_the_sum_fits(
    capacity: int, gateways: frozenset[str], in_flight: dict[str, int]
) -> None:
    granted = grants(capacity, gateways, {name: n for name, n in in_flight.items() if name in gateways})
    assert sum(grants(capacity, gateways, granted).values()) < capacity + len(gateways)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(-1.0, 32), (0.0, 32), (5.0, 80), (9.99, 127), (10.0, 128), (1e9, 128)]
)
def test_the_capacity_grows_after_the_start(seconds: float, expected: int) -> None:
    assert warm_capacity(128, ready_seconds=seconds) == expected


@given(CAPACITIES, st.floats(0, 20), st.floats(0, 20))
def test_the_capacity_only_grows_and_is_never_nothing(capacity: int, earlier: float, later: float) -> None:
    earlier, later = sorted((earlier, later))
    assert 1 <= warm_capacity(capacity, ready_seconds=earlier) <= warm_capacity(capacity, ready_seconds=later)
    assert warm_capacity(capacity, ready_seconds=earlier, warm_up_seconds=0) == capacity


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_gateway_that_asks_no_more_is_forgotten() -> None:
    clock = Clock()
    gateways = Gateways(clock)
    gateways.note_check("a")
    assert gateways.grant("a", 10) == 10
    gateways.note_check("b")
    assert gateways.grant("a", 10) == 5
    clock.now += LIVE_SECONDS
    gateways.note_check("a")
    assert gateways.live() == {"a", "b"}
    clock.now += 0.01
    assert gateways.live() == {"a"}
    assert gateways.grant("a", 10) == 10


def test_the_last_count_holds_for_a_while_when_nobody_can_say() -> None:
    clock = Clock()
    gateways = Gateways(clock)
    gateways.note_in_flight({"a": 2})
    clock.now += LIVE_SECONDS
    gateways.note_in_flight(None)
    gateways.note_check("a")
    gateways.note_check("b")
    assert (gateways.grant("a", 10), gateways.grant("b", 10)) == (10, 8)
    clock.now += 0.01
    assert (gateways.grant("a", 10), gateways.grant("b", 10)) == (5, 5)
