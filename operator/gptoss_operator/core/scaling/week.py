"""How many replicas were needed at each time of the past week."""

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Final


BUCKET_SECONDS: Final = 600
BUCKETS: Final = 7 * 86400 // BUCKET_SECONDS
MONDAY: Final = 4 * 86400
"""Seconds from 1970-01-01, a Thursday, to the first Monday."""
RUN: Final = re.compile(r"(-|[0-9]{1,7})(?:x([0-9]{1,4}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The greatest need in each ten minutes of the week."""

    needs: tuple[int | None, ...] = ()
    """By ten minutes since Monday 00:00 UTC, 1,008 of them; None: not known. Empty: nothing is known yet."""
    current: tuple[int, int] | None = None
    """The ten minutes that run, and the greatest need in them so far. They replace last week's when they are over."""


def bucket_of(now: float) -> int:
    """Return which ten minutes of the week `now` is in."""
    return int((now - MONDAY) // BUCKET_SECONDS) % BUCKETS


def with_week_need(week: Week, need: int, now: float) -> Week:
    """Return `week` with what is needed now."""
    bucket = bucket_of(now)
    if week.current is None:
        return Week(needs=week.needs, current=(bucket, need))
    running, most = week.current
    if running == bucket:
        return week if need <= most else Week(needs=week.needs, current=(bucket, need))
    needs: list[int | None] = list(week.needs) if len(week.needs) == BUCKETS else [None] * BUCKETS
    needs[running] = most
    return Week(needs=tuple(needs), current=(bucket, need))


def needed_a_week_ago(week: Week, now: float, lead_seconds: float) -> int | None:
    """Return the greatest need a week before `now`, and before the time `lead_seconds` ahead. None: not known.

    The lead is what a replica takes to start: one that is needed then has to be asked for now.
    """
    if len(week.needs) != BUCKETS:
        return None
    found = (week.needs[bucket_of(now)], week.needs[bucket_of(now + lead_seconds)])
    return max((need for need in found if need is not None), default=None)


def encode_week(week: Week) -> str:
    """Return `week` as a short line, such as `-x1000 2x6 3 5`: needs, each with how often it follows itself."""
    if len(week.needs) != BUCKETS:
        return ""
    runs = ((need, len(list(same))) for need, same in groupby(week.needs))
    return " ".join(("-" if need is None else str(need)) + (f"x{count}" if count > 1 else "") for need, count in runs)


def decode_week(text: str) -> Week:
    """Return the week that `encode_week` wrote. What cannot be read is an empty one: a forecast lost, nothing more."""
    needs: list[int | None] = []
    for word in text.split():
        run = RUN.fullmatch(word)
        if run is None:
            return Week()
        needs += [None if run[1] == "-" else int(run[1])] * int(run[2] or 1)
        if len(needs) > BUCKETS:
            return Week()
    return Week(needs=tuple(needs)) if len(needs) == BUCKETS else Week()
