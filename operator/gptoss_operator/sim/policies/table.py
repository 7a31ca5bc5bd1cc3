"""The policies that can be compared by name, as their projects ship them."""

from collections.abc import Callable, Mapping
from typing import Final

from gptoss_operator.sim.contract import Policy
from gptoss_operator.sim.policies.keda import Keda
from gptoss_operator.sim.policies.knative import Knative
from gptoss_operator.sim.policies.kubeai import KubeAI
from gptoss_operator.sim.policies.sizing import Sizing
from gptoss_operator.sim.policies.skyserve import RequestRate, SkyServe
from gptoss_operator.sim.policies.spothedge import SpotHedge
from gptoss_operator.sim.policies.static import Static


STATIC: Final = "static"
BASELINES: Final = (STATIC, "keda", "knative", "kubeai", "skyserve", "spothedge")
SHARE: Final = 0.75
"""Share of a full replica's requests per second that SkyServe's users are taken to state: it has no default."""


def baselines(sizing: Sizing, *, least: int, most: int) -> Mapping[str, Callable[[], tuple[Policy, ...]]]:
    """Return how to make each baseline, between `least` and `most` replicas. `static` is several, one after another."""
    least = max(1, least)

    def rate() -> RequestRate:
        qps = SHARE * sizing.requests_per_second
        return RequestRate(qps_per_replica=qps, min_replicas=least, max_replicas=most)

    def fixed() -> tuple[Policy, ...]:
        middle = sizing.replicas
        return tuple(Static(replicas=number) for number in range(max(1, middle - 2), middle + 3))

    return {
        STATIC: fixed,
        "keda": lambda: (Keda(min_replicas=least, max_replicas=most),),
        "knative": lambda: (Knative(concurrency=float(sizing.concurrency), min_replicas=least, max_replicas=most),),
        "kubeai": lambda: (KubeAI(min_replicas=least, max_replicas=most),),
        "skyserve": lambda: (SkyServe(rate=rate()),),
        "spothedge": lambda: (SpotHedge(rate=rate()),),
    }
