"""What is remembered of the past week."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.core.scaling.week import (
    BUCKETS,
    Week,
    bucket_of,
    decode_week,
    encode_week,
    needed_a_week_ago,
    with_week_need,
)
from tests.scaling.builders import NOW, POLICY, REPLICA_SECONDS, a_load, a_memory, a_supply, no_load


WEEK = 7 * 86400.0


def test_the_week_begins_on_monday() -> None:
    monday = 1_789_948_800.0
    assert bucket_of(monday) == 0
    assert bucket_of(monday - 1) == BUCKETS - 1
    assert bucket_of(monday + 600) == 1


def test_the_greatest_need_of_ten_minutes_is_there_a_week_later() -> None:
    week, begin = Week(), NOW - NOW % 600
    for second, need in ((0, 2), (300, 5), (599, 3), (600, 1)):
        week = with_week_need(week, need, begin + second)
    assert needed_a_week_ago(week, begin + WEEK, 0.0) == 5
    assert needed_a_week_ago(week, begin + WEEK - 300, 300.0) == 5, "one has to start before"
    assert needed_a_week_ago(week, begin + WEEK + 1200, 0.0) is None
    assert needed_a_week_ago(Week(), NOW, 0.0) is None


def test_last_week_stays_until_its_ten_minutes_are_over() -> None:
    begin = NOW - NOW % 600
    week = with_week_need(with_week_need(Week(), 7, begin), 0, begin + 600)
    week = with_week_need(week, 1, begin + WEEK)
    assert needed_a_week_ago(week, begin + WEEK + 599, 0.0) == 7
    week = with_week_need(week, 1, begin + WEEK + 600)
    assert needed_a_week_ago(week, begin + 2 * WEEK, 0.0) == 1


@given(st.lists(st.one_of(st.none(), st.integers(0, 12)), min_size=BUCKETS, max_size=BUCKETS))
def test_what_is_written_is_read(needs: list[int | None]) -> None:
    assert decode_week(encode_week(Week(needs=tuple(needs)))) == Week(needs=tuple(needs))


def test_a_usual_week_is_short() -> None:
    day = [1] * 48 + [2, 4, 6, 8] + [9] * 60 + [6, 4, 3, 2] + [1] * 28
    text = encode_week(Week(needs=tuple(day * 7)))
    assert text.startswith("1x48 2 4 6 8 9x60")
    assert len(text) < 300


@pytest.mark.parametrize("text", ["", "nonsense", "1x1007", "1x1009", "1x9999999", "1x1007 x", "-1x1008", "2x0 1x1007"])
def test_what_cannot_be_read_is_nothing_known(text: str) -> None:
    assert decode_week(text) == Week()
    assert encode_week(Week()) == ""


def full_of(need: int) -> Week:
    return Week(needs=(need,) * BUCKETS)


def test_what_was_needed_last_week_is_there_before_it_is_asked_for() -> None:
    policy = replace(POLICY, same_time_last_week=True)
    memory = replace(a_memory(1), week=full_of(3))
    decision = decide_replicas(policy, a_load(0.1), a_supply(1), memory, NOW)
    assert (decision.replicas, decision.terms.last_week) == (3, 3.0)
    assert decision.reason == "1 to 3: this time last week needed 3.0"
    assert decide_replicas(POLICY, a_load(0.1), a_supply(1), memory, NOW).replicas == 1, "only where it is asked for"


def test_a_forecast_does_not_feed_itself() -> None:
    policy = replace(POLICY, same_time_last_week=True)
    memory = replace(a_memory(3), week=full_of(3))
    for tick in range(241):
        memory = decide_replicas(policy, a_load(0.1), a_supply(3), memory, NOW + 5 * tick).memory
    assert needed_a_week_ago(memory.week, NOW + WEEK, 0.0) == 1


def test_a_forecast_wakes_from_none_and_keeps_what_it_asked_for() -> None:
    policy = replace(POLICY, min_replicas=0, same_time_last_week=True)
    memory = replace(a_memory(0), week=full_of(2))
    for tick in range(10):
        load = replace(no_load(), idle_seconds=5000.0)
        decision = decide_replicas(policy, load, a_supply(0), memory, NOW + 5 * tick)
        assert decision.replicas == 2
        memory = decision.memory


def test_the_rate_alone_is_remembered_for_next_week() -> None:
    memory = a_memory(1)
    for tick in range(121):
        memory = decide_replicas(POLICY, a_load(2 / REPLICA_SECONDS), a_supply(1), memory, NOW + 5 * tick).memory
    assert max(need for need in memory.week.needs if need is not None) == 3
