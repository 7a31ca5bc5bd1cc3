"""SkyServe's request-rate autoscaler, all on demand.

Its law, from `RequestRateAutoscaler` in `sky/serve/autoscalers.py` of skypilot-org/skypilot, every 20 s:

    wanted = clip(ceil(requests of the last 60 s / 60 / target_qps_per_replica), min, max)
    the target follows after 300 s of ticks in a row that want more, 1200 s of ticks that want fewer,
    and at once from zero
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Final

from gptoss_operator.core.scaling.load import Load, known
from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import resized


DECISION_SECONDS: Final = 20.0


@dataclass(kw_only=True)
class RequestRate:
    """The target of SkyServe, with its hysteresis."""

    qps_per_replica: float
    up_seconds: float = 300.0
    down_seconds: float = 1200.0
    min_replicas: int = 1
    max_replicas: int = 100
    target: int = field(default=-1, init=False)
    """As SkyServe, it begins with `min_replicas`."""
    _more: int = field(default=0, init=False)
    _fewer: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.target = self.min_replicas

    def follow(self, load: Load) -> int:
        """Return the target after one more tick. A rate that is not known leaves it as it is."""
        rate = known(load.arrivals_1m)
        if rate is None:
            return self.target
        wanted = min(max(math.ceil(rate / self.qps_per_replica), self.min_replicas), self.max_replicas)
        if self.target == 0:
            self.target = wanted
        elif wanted > self.target:
            self._more, self._fewer = self._more + 1, 0
            if self._more >= int(self.up_seconds / DECISION_SECONDS):
                self._more, self.target = 0, wanted
        elif wanted < self.target:
            self._fewer, self._more = self._fewer + 1, 0
            if self._fewer >= int(self.down_seconds / DECISION_SECONDS):
                self._fewer, self.target = 0, wanted
        else:
            self._more = self._fewer = 0
        return self.target


@dataclass(kw_only=True)
class SkyServe:
    """As many on-demand replicas as the request rate asks for."""

    rate: RequestRate
    name: str = "skyserve"
    interval_seconds: float = DECISION_SECONDS
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = False

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        return resized(view, self.rate.follow(view.load))
