"""Shares of a limit, and tokens in a minute."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.tenants.limits import WINDOW_SECONDS, TokenWindow, Use, read_table, share


LIMITS = st.integers(min_value=1, max_value=10_000)
DEMANDS = st.lists(st.integers(min_value=0, max_value=20_000), min_size=1, max_size=20)


def served(limit: int, demands: list[int]) -> list[int]:
    """Return what each gateway lets through when all know what the others are asked for."""
    return [min(demand, share(limit, [*demands[:at], *demands[at + 1 :]])) for at, demand in enumerate(demands)]


@given(LIMITS, DEMANDS)
def test_together_they_let_through_the_limit_and_hardly_more(limit: int, demands: list[int]) -> None:
    assert sum(served(limit, demands)) <= limit + len(demands)


@given(LIMITS, DEMANDS)
def test_it_stays_so_when_they_hear_what_was_let_through(limit: int, demands: list[int]) -> None:
    # Each hears of the others what they served, not what was asked of them, and is still asked for the same.
    known = demands
    for _ in range(4):
        known = [min(demand, share(limit, [*known[:at], *known[at + 1 :]])) for at, demand in enumerate(demands)]
    assert sum(known) <= limit + len(demands)


@given(LIMITS, DEMANDS)
def test_nothing_is_left_unused_that_somebody_wants(limit: int, demands: list[int]) -> None:
    assert sum(served(limit, demands)) >= min(limit, sum(demands))


@given(LIMITS, DEMANDS)
def test_a_share_is_at_least_one_and_an_equal_part_and_at_most_the_limit(limit: int, others: list[int]) -> None:
    assert max(1, min(limit, math.ceil(limit / (len(others) + 1)))) <= share(limit, others) <= limit


@given(LIMITS, st.integers(min_value=0, max_value=20))
def test_while_the_others_are_idle_the_share_is_the_limit(limit: int, others: int) -> None:
    assert share(limit, [0] * others) == limit


def test_shares_by_example() -> None:
    assert share(100, []) == 100
    assert share(100, [100]) == 50
    assert share(100, [30]) == 70
    assert share(100, [0, 0, 100]) == 50
    assert share(100, [40, 0]) == 60
    assert share(100, [90, 90, 10]) == 30
    assert share(2, [5, 5, 5]) == 1


def test_tokens_slide_out_of_the_window() -> None:
    window = TokenWindow()
    window.add(30, 100.2)
    window.add(10, 100.9)
    window.add(20, 130.0)
    assert window.used(159.9) == 60
    assert window.used(160.0) == 20
    assert window.used(190.0) == 0


def test_a_tenant_waits_until_enough_has_slid_out() -> None:
    window = TokenWindow()
    window.add(30, 100.0)
    window.add(30, 110.0)
    assert window.blocked_seconds(61, 0, 120.0) == 0
    assert window.blocked_seconds(60, 0, 120.0) == 40
    assert window.blocked_seconds(30, 0, 120.0) == 50
    assert window.blocked_seconds(1, 0, 120.0) == 50


def test_what_others_counted_blocks_here_too() -> None:
    window = TokenWindow()
    assert window.blocked_seconds(60, 60, 1000.0) == 1
    assert window.blocked_seconds(60, 120, 1000.0) == 31


@given(
    LIMITS,
    st.integers(min_value=0, max_value=50_000),
    st.lists(st.tuples(st.floats(min_value=0, max_value=120), st.integers(min_value=0, max_value=20_000))),
)
def test_a_wait_is_bounded_and_just_long_enough(limit: int, others: int, uses: list[tuple[float, int]]) -> None:
    window = TokenWindow()
    for moment, tokens in sorted(uses):
        window.add(tokens, moment)
    wait = window.blocked_seconds(limit, others, 121.0)
    assert 0 <= wait <= WINDOW_SECONDS
    assert (wait == 0) == (window.used(121.0) + others < limit)
    if others == 0:
        assert window.used(121.0 + wait) < limit


def test_the_table_of_haproxy() -> None:
    text = (
        "# table: tenants, type: string, size:102400, used:2\n"
        "0x7f1: key=team-a use=1 exp=59999 shard=0 conn_cur=3 gpc0=12 gpc0_rate(1000)=7\n"
        "0x7f2: key=b use=0 exp=5 shard=0 conn_cur=0 gpc0=1 gpc0_rate(1000)=0\n\n"
    )
    assert read_table(text) == {"team-a": Use(requests=7, running=3), "b": Use()}
