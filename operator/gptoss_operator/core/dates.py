"""Moments as the API writes them, and as seconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Final


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


def shown_date(seconds: float | None) -> str | None:
    """Return a number of seconds since 1970 as a date; None for what is no date."""
    if seconds is None:
        return None
    try:
        return f"{EPOCH + timedelta(seconds=seconds):{FORMAT}}"
    except (OverflowError, ValueError):
        return None


def seconds_of(date: str | None) -> float | None:
    """Return a date as seconds since 1970; None for what is no date."""
    try:
        return datetime.strptime(date or "", FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
