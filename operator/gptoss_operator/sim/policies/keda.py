"""KEDA on waiting requests, as vLLM's production-stack sets it up, all on demand.

KEDA gives a total and a threshold to a HorizontalPodAutoscaler (metric type AverageValue). Its law, from
`pkg/controller/podautoscaler/replica_calculator.go` and `horizontal.go` of Kubernetes:

    desired = ceil(total / threshold)    unless |total / (threshold * replicas) - 1| <= 0.1
    up:   at most max(+100 %, +4) in 15 s, without a window
    down: at most -100 % in 15 s, to the greatest recommendation of the last 300 s

Defaults of production-stack's chart: `vllm:num_requests_waiting`, threshold 5, polled every 15 s, after 3 failed polls
as if 2 replicas were needed. The total is the sum over gateway and replicas here: its chart's query has no sum() and
fails with two replicas.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Final

from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import resized, staying, waiting


TOLERANCE: Final = 0.1
UP_REPLICAS: Final = 4
UP_FACTOR: Final = 2
FAILED_POLLS: Final = 3


@dataclass(kw_only=True)
class Keda:
    """The HorizontalPodAutoscaler behind KEDA. Parameters are those of its resources."""

    threshold: float = 5.0
    """Waiting requests per replica."""
    min_replicas: int = 1
    max_replicas: int = 100
    fallback_replicas: int = 2
    down_window_seconds: float = 300.0
    interval_seconds: float = 15.0
    name: str = "keda"
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = False
    _failed: int = field(default=0, init=False)
    _recommended: deque[tuple[float, int]] = field(default_factory=deque, init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        replicas = len(staying(view))
        total = self._total(view)
        target = self._limited(view.now, replicas, replicas if total is None else self._desired(total, replicas))
        return resized(view, min(max(target, self.min_replicas), self.max_replicas))

    def _total(self, view: View) -> float | None:
        """Return the metric that the HorizontalPodAutoscaler gets, None where it gets none."""
        total = waiting(view.load)
        self._failed = 0 if total is not None else self._failed + 1
        if total is None and self._failed >= FAILED_POLLS:
            return self.threshold * self.fallback_replicas
        return total

    def _desired(self, total: float, replicas: int) -> int:
        if replicas and abs(total / (self.threshold * replicas) - 1) <= TOLERANCE:
            return replicas
        return math.ceil(total / self.threshold)

    def _limited(self, now: float, replicas: int, desired: int) -> int:
        """Return `desired` after the behaviour's steps and window."""
        recommended = self._recommended
        recommended.append((now, desired))
        while recommended[0][0] < now - self.down_window_seconds:
            recommended.popleft()
        if desired > replicas:
            return min(desired, max(UP_FACTOR * replicas, replicas + UP_REPLICAS))
        return min(replicas, max(number for _, number in recommended))
