"""Which bounds weekly windows set at a moment."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from gptoss_operator.core.scaling.policy import Schedule


MINUTES_OF_HOUR = 60


def holds(schedule: Schedule, now: float) -> bool:
    """Return whether `now`, in seconds since 1970, is within `schedule`.

    A time of day that a change of the clock skips or repeats means what RFC 5545, section 3.3.5, says: the first of
    two, and the one by the offset before the change where there is none.
    Raises `zoneinfo.ZoneInfoNotFoundError` for a time zone that the machine does not know.
    """
    zone = ZoneInfo(schedule.time_zone)
    today = datetime.fromtimestamp(now, zone).date()
    for day in (today, today - timedelta(days=1)):
        if day.weekday() not in schedule.days:
            continue
        overnight = schedule.end_minute <= schedule.start_minute
        last = day + timedelta(days=1) if overnight else day
        begin = _moment(datetime(day.year, day.month, day.day, tzinfo=zone), schedule.start_minute)
        end = _moment(datetime(last.year, last.month, last.day, tzinfo=zone), schedule.end_minute)
        if begin <= now < end:
            return True
    return False


def scheduled(
    schedules: Sequence[Schedule], low: int, high: int, now: float
) -> tuple[tuple[int, str], tuple[int, str]]:
    """Return least and most replicas at `now`, each with what sets it. `low` and `high` hold without a schedule.

    Of several schedules that hold, the greatest minimum and the greatest maximum count. Where the minimum is above the
    maximum, one that a schedule sets moves one that none sets, and the minimum moves the maximum if both do.
    """
    held = [schedule for schedule in schedules if holds(schedule, now)]
    lows = [(schedule.min_replicas, _named(schedule)) for schedule in held if schedule.min_replicas is not None]
    highs = [(schedule.max_replicas, _named(schedule)) for schedule in held if schedule.max_replicas is not None]
    least = max(lows, default=(low, "minReplicas"))
    most = max(highs, default=(high, "maxReplicas"))
    if least[0] <= most[0]:
        return least, most
    return (most, most) if highs and not lows else (least, least)


def _named(schedule: Schedule) -> str:
    return f"schedule {schedule.name}"


def _moment(midnight: datetime, minute: int) -> float:
    """Return the time of day `minute` of the day of `midnight`, in seconds since 1970."""
    hour = minute // MINUTES_OF_HOUR % 24
    return midnight.replace(hour=hour, minute=minute % MINUTES_OF_HOUR).timestamp()
