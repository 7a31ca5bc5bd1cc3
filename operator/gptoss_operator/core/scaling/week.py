"""How many replicas were needed at each time of the past week."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """The greatest need in each ten minutes of the week."""

    needs: tuple[int | None, ...] = ()
    """By ten minutes since Monday 00:00 UTC, 1,008 of them; None: not known. Empty: nothing is known yet."""
