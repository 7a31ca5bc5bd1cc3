"""KubeAI's autoscaler on active requests, all on demand.

Its law, from `internal/modelautoscaler` and `internal/modelscaler` of substratusai/kubeai, every 10 s:

    desired = ceil(mean of the active requests of the last 10 minutes / targetRequests)    targetRequests = 100
    down only after ceil(scaleDownDelaySeconds / 10 s) ticks in a row that ask for fewer   scaleDownDelaySeconds = 30
    a tick without numbers is skipped
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import active, resized, staying


@dataclass(kw_only=True)
class KubeAI:
    """The model autoscaler. Parameters are those of its configuration."""

    target_requests: float = 100.0
    window_seconds: float = 600.0
    down_delay_seconds: float = 30.0
    min_replicas: int = 1
    max_replicas: int = 100
    interval_seconds: float = 10.0
    name: str = "kubeai"
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = False
    _samples: deque[float] = field(default_factory=deque, init=False)
    _lower: int = field(default=0, init=False)

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        replicas = len(staying(view))
        seen = active(view.load)
        if seen is None:
            return Orders(target=replicas)
        self._samples.append(seen)
        if len(self._samples) > self.window_seconds / self.interval_seconds:
            self._samples.popleft()
        desired = math.ceil(sum(self._samples) / len(self._samples) / self.target_requests)
        desired = min(max(desired, self.min_replicas), self.max_replicas)
        self._lower = self._lower + 1 if desired < replicas else 0
        if desired < replicas and self._lower < math.ceil(self.down_delay_seconds / self.interval_seconds):
            desired = replicas
        return resized(view, desired)
