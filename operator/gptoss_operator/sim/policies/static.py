"""A fixed number of on-demand replicas: what most people run, and what savings are counted from."""

from dataclasses import dataclass
from typing import ClassVar

from gptoss_operator.sim.contract import Orders, View
from gptoss_operator.sim.policies.fleet import resized


@dataclass(kw_only=True)
class Static:
    """`replicas` on demand, always."""

    replicas: int
    interval_seconds: float = 60.0
    eager: ClassVar[bool] = False
    drains_on_notice: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"static {self.replicas}"

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        return resized(view, self.replicas)
