"""What keeps the number of replicas calm: the greatest need of a while counts, and steps are bounded.

The rules are those of the HorizontalPodAutoscaler: `scaleDown.stabilizationWindowSeconds` takes the MAXIMUM of what was
recommended in the window, and `policies` bound the change within a period, `selectPolicy: Max`.
"""

import math

from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.supply import ColdStart


Marks = tuple[tuple[float, int], ...]
"""Moments, each with a number of replicas; newest last."""


def window_seconds(policy: ScalingPolicy, cold_start: ColdStart) -> float:
    """Return for how long a greater need counts: what is removed too early takes a cold start to come back."""
    usual = cold_start.p50_seconds if math.isfinite(cold_start.p50_seconds) else 0.0
    return max(policy.down_window_seconds, 2 * usual)


def with_need(needs: Marks, need: int, *, now: float, window: float) -> Marks:
    """Return `needs` with one more. Those that can never be the greatest again are left out."""
    kept = [mark for mark in needs if mark[0] > now - window and mark[1] > need]
    kept.append((now, need))
    return tuple(kept)


def greatest(needs: Marks) -> int:
    """Return the greatest need that was noted."""
    return needs[0][1] if needs else 0


def moved(marks: Marks, seconds: float) -> Marks:
    """Return `marks` as if they had been noted so much later."""
    return tuple((at + seconds, number) for at, number in marks) if seconds else marks


def within(marks: Marks, *, now: float, period: float) -> Marks:
    """Return the marks of the last `period` seconds."""
    if not marks or marks[0][0] > now - period:
        return marks
    return tuple(mark for mark in marks if mark[0] > now - period)


def highest_step(policy: ScalingPolicy, target: int, ups: Marks) -> int:
    """Return the most replicas that may be asked for now, given from what the target was raised in the period."""
    base = min([target, *(number for _, number in ups)])
    return max(target, base + max(policy.up_replicas, math.ceil(base * policy.up_percent / 100)))


def lowest_step(policy: ScalingPolicy, target: int, downs: Marks) -> int:
    """Return the least replicas that may be asked for now, given from what the target was lowered in the period."""
    base = max([target, *(number for _, number in downs)])
    return min(target, base - max(policy.down_replicas, base * policy.down_percent // 100))
