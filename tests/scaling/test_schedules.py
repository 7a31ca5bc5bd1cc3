"""Weekly windows."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.scaling.policy import Schedule
from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.core.scaling.schedules import holds, scheduled
from tests.scaling.builders import NOW, POLICY, a_load, a_memory, a_supply


WORKDAYS = frozenset(range(5))
OFFICE = Schedule(
    name="office",
    time_zone="Europe/Berlin",
    days=WORKDAYS,
    start_minute=8 * 60,
    end_minute=18 * 60 + 30,
    min_replicas=4,
)
NIGHT = replace(OFFICE, name="night", days=frozenset({4}), start_minute=22 * 60, end_minute=6 * 60, max_replicas=2)


def moment(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("when", "inside"),
    [
        ("2026-09-21T07:59:59", False),
        ("2026-09-21T08:00:00", True),
        ("2026-09-21T18:29:59", True),
        ("2026-09-21T18:30:00", False),
        ("2026-09-26T12:00:00", False),
        ("2026-12-21T08:00:00", True),
    ],
)
def test_a_window_holds_by_the_clock_of_its_zone(when: str, *, inside: bool) -> None:
    assert holds(OFFICE, moment(when)) is inside


@pytest.mark.parametrize(
    ("when", "inside"),
    [
        ("2026-09-25T21:59:00", False),
        ("2026-09-25T22:00:00", True),
        ("2026-09-26T05:59:00", True),
        ("2026-09-26T06:00:00", False),
        ("2026-09-25T03:00:00", False),
        ("2026-09-26T22:30:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(when: str, *, inside: bool) -> None:
    assert holds(NIGHT, moment(when)) is inside


def test_a_window_that_ends_when_it_begins_lasts_a_day() -> None:
    whole = replace(OFFICE, days=frozenset({0}), start_minute=0, end_minute=0)
    assert holds(whole, moment("2026-09-21T00:00:00"))
    assert holds(whole, moment("2026-09-21T23:59:59"))
    assert not holds(whole, moment("2026-09-22T00:00:00"))


def test_a_window_begins_once_where_the_clock_repeats_an_hour() -> None:
    early = replace(OFFICE, days=frozenset({6}), start_minute=2 * 60 + 30, end_minute=4 * 60)
    assert not holds(early, moment("2026-10-25T02:29:00"))
    assert holds(early, moment("2026-10-25T02:30:00"))
    assert holds(early, moment("2026-10-25T02:10:00", fold=1)), "it does not stop when the hour begins again"
    assert not holds(early, moment("2026-10-25T04:00:00"))


def test_a_window_begins_although_the_clock_skips_its_beginning() -> None:
    early = replace(OFFICE, days=frozenset({6}), start_minute=2 * 60 + 30, end_minute=6 * 60)
    assert not holds(early, moment("2026-03-29T01:59:00"))
    assert holds(early, moment("2026-03-29T03:30:00"))
    assert holds(early, moment("2026-03-29T05:59:00"))


def test_of_several_windows_the_greatest_bounds_count() -> None:
    noon = moment("2026-09-21T12:00:00")
    other = replace(OFFICE, name="other", min_replicas=2, max_replicas=9)
    third = replace(OFFICE, name="third", min_replicas=None, max_replicas=7)
    assert scheduled([OFFICE, other, third], 1, 20, noon) == ((4, "schedule office"), (9, "schedule other"))
    assert scheduled([NIGHT], 1, 20, noon) == ((1, "minReplicas"), (20, "maxReplicas"))


def test_a_bound_that_a_schedule_sets_moves_the_other_one() -> None:
    noon = moment("2026-09-21T12:00:00")
    assert scheduled([OFFICE], 1, 3, noon) == ((4, "schedule office"), (4, "schedule office"))
    fewer = replace(OFFICE, min_replicas=None, max_replicas=1)
    assert scheduled([fewer], 2, 8, noon) == ((1, "schedule office"), (1, "schedule office"))


def test_a_time_zone_that_is_not_known_is_named() -> None:
    with pytest.raises(ZoneInfoNotFoundError, match="Mars/Olympus"):
        holds(replace(OFFICE, time_zone="Mars/Olympus"), NOW)


def test_a_window_raises_the_target_and_is_named() -> None:
    policy = replace(POLICY, schedules=(OFFICE,))
    decision = decide_replicas(policy, a_load(0.1), a_supply(1), a_memory(1), NOW)
    assert (decision.replicas, decision.limit) == (4, Limit.MIN_REPLICAS)
    assert decision.reason == "1 to 4: schedule office"
    again = decide_replicas(policy, a_load(0.1), a_supply(1, 3), decision.memory, NOW + 5)
    assert again.reason == "4: schedule office, the load needs no more"
