"""Knative's pod autoscaler (KPA) on concurrency, all on demand.

Its law, from `pkg/autoscaler/scaling/autoscaler.go` of knative/serving, every 2 s:

    stable = ceil(mean concurrency of 60 s / target)    target = 70 % of the concurrency that a replica is given
    panic  = ceil(mean concurrency of  6 s / target)
    both within [floor(ready / 2), ceil(1000 * ready)]
    panic begins when panic / ready >= 2 and ends 60 s after that was last so;
    in panic: the greatest number since it began, never fewer
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Final

from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import active, ready, resized, staying


STABLE_SECONDS: Final = 60.0
PANIC_SECONDS: Final = 6.0
PANIC_THRESHOLD: Final = 2.0
MAX_UP_RATE: Final = 1000.0
MAX_DOWN_RATE: Final = 2.0


@dataclass(kw_only=True)
class Knative:
    """The KPA. `concurrency` is `containerConcurrency`; `utilization` its target percentage."""

    concurrency: float = 100.0
    utilization: float = 0.7
    down_delay_seconds: float = 0.0
    """`scale-down-delay`: the greatest number within it counts."""
    min_replicas: int = 1
    max_replicas: int = 100
    interval_seconds: float = 2.0
    name: str = "knative"
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = False
    _samples: deque[tuple[float, float]] = field(default_factory=deque, init=False)
    _delayed: deque[tuple[float, int]] = field(default_factory=deque, init=False)
    _panic_until: float | None = field(default=None, init=False)
    _panic_replicas: int = field(default=0, init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now. Without numbers it does nothing, as the KPA."""
        existing = staying(view)
        seen = active(view.load)
        if seen is None:
            return Orders(target=len(existing))
        samples = self._samples
        samples.append((view.now, seen))
        while samples[0][0] <= view.now - STABLE_SECONDS:
            samples.popleft()
        wanted = self._wanted(view.now, max(1, ready(existing)))
        target = self._late(view.now, wanted)
        return resized(view, min(max(target, self.min_replicas), self.max_replicas))

    def _wanted(self, now: float, ready_replicas: int) -> int:
        target = self.concurrency * self.utilization
        stable = math.ceil(self._mean(now, STABLE_SECONDS) / target)
        panic = math.ceil(self._mean(now, PANIC_SECONDS) / target)
        least, most = math.floor(ready_replicas / MAX_DOWN_RATE), math.ceil(MAX_UP_RATE * ready_replicas)
        over = panic / ready_replicas >= PANIC_THRESHOLD
        stable, panic = (min(max(number, least), most) for number in (stable, panic))
        if over:
            if self._panic_until is None:
                self._panic_replicas = ready_replicas
            self._panic_until = now + STABLE_SECONDS
        elif self._panic_until is not None and now > self._panic_until:
            self._panic_until = None
        if self._panic_until is None:
            return stable
        self._panic_replicas = max(self._panic_replicas, panic)
        return self._panic_replicas

    def _mean(self, now: float, seconds: float) -> float:
        values = [value for at, value in self._samples if at > now - seconds]
        return sum(values) / len(values)

    def _late(self, now: float, wanted: int) -> int:
        if self.down_delay_seconds <= 0:
            return wanted
        delayed = self._delayed
        delayed.append((now, wanted))
        while delayed[0][0] < now - self.down_delay_seconds:
            delayed.popleft()
        return max(number for _, number in delayed)
