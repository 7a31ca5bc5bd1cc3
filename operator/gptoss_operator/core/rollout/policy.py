"""How replicas of one revision are to be replaced by those of the next. Times in seconds, moments since 1970."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gptoss_operator.api.rollout import CanarySpec, RolloutSpec, Strategy
from gptoss_operator.core.scaling.policy import Schedule
from gptoss_operator.core.scaling.schedules import holds


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """What `next_step` goes by, for the number of replicas of now."""

    strategy: Strategy = Strategy.AUTO
    surge: int = 1
    """Replicas beyond those that are wanted, with Auto and Surge."""
    unavailable: int = 0
    """Replicas that may be missing meanwhile."""
    min_ready_seconds: float = 0.0
    deadline_seconds: float = 2700.0
    surge_wait_seconds: float = 600.0
    auto_rollback: bool = True
    paused: bool = False
    windows: tuple[Schedule, ...] = ()
    canary: CanarySpec = field(default_factory=CanarySpec)

    def closed_until(self, now: float) -> str | None:
        """Return which windows are waited for. None: replicas may be replaced now."""
        if not self.windows or any(holds(window, now) for window in self.windows):
            return None
        return ", ".join(window.name for window in self.windows)


def policy_of(spec: RolloutSpec, replicas: int, windows: Sequence[Schedule]) -> RolloutPolicy:
    """Return the policy for so many `replicas`. A share of them is rounded up for the surge and down for the others.

    At least one of the two is not zero, or nothing could ever be replaced (as in a Deployment).
    """
    surge, unavailable = _count(spec.max_surge, replicas, up=True), _count(spec.max_unavailable, replicas, up=False)
    return RolloutPolicy(
        strategy=spec.strategy,
        surge=surge,
        unavailable=max(unavailable, 0 if surge else 1),
        min_ready_seconds=spec.min_ready_seconds,
        deadline_seconds=spec.progress_deadline_seconds,
        surge_wait_seconds=spec.surge_wait_seconds,
        auto_rollback=spec.auto_rollback,
        paused=spec.paused,
        windows=tuple(windows),
        canary=spec.gates.canary,
    )


def _count(count: int | str, replicas: int, *, up: bool) -> int:
    if isinstance(count, int):
        return count
    if not count.endswith("%"):
        return int(count)
    share = int(count.removesuffix("%")) * replicas / 100
    return math.ceil(share) if up else math.floor(share)
