"""How many replicas there may be at all: by the spec, by its schedules, by its budget."""

import math
from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.core.scaling.load import known
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.schedules import scheduled
from gptoss_operator.core.scaling.supply import Supply


MAX_GPUS: Final = "scaling.budget.maxGpus"
MAX_HOURLY_COST: Final = "scaling.budget.maxHourlyCost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Least and most replicas, both included. The most is never below the least."""

    low: int
    low_name: str
    """What sets the least, in words."""
    high: int
    high_name: str
    """What sets the most, in words."""
    high_limit: Limit
    """What sets the most."""

    def clip(self, replicas: int) -> int:
        """Return the nearest number that is allowed."""
        return max(self.low, min(replicas, self.high))


def bounds_at(policy: ScalingPolicy, supply: Supply, now: float) -> Bounds:
    """Return the bounds at `now`. The budget comes before the minimum, and never asks for fewer than none.

    A price that is not known bounds nothing.
    """
    least, most = scheduled(policy.schedules, max(0, policy.min_replicas), max(0, policy.max_replicas), now)
    (low, low_name), (high, high_name) = least, most
    limit = Limit.MAX_REPLICAS
    if policy.max_gpus is not None:
        affordable = max(0, policy.max_gpus // max(1, policy.gpus_per_replica))
        if affordable < high:
            high, high_name, limit = affordable, MAX_GPUS, Limit.MAX_GPUS
    budget, cost = known(policy.max_hourly_cost), known(supply.replica_hourly_cost)
    if budget is not None and cost:
        # A billionth of a replica, for quotients such as 0.3 / 0.1.
        affordable = math.floor(min(budget / cost, 1e9) + 1e-9)
        if affordable < high:
            high, high_name, limit = affordable, MAX_HOURLY_COST, Limit.MAX_HOURLY_COST
    if low > high:
        low, low_name = high, high_name
    return Bounds(low=low, low_name=low_name, high=high, high_name=high_name, high_limit=limit)
