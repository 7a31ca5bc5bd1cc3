"""The policies with their knobs: a curve for each, by the settings that are tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from e2e.bench.autoscaling.world import PRICES
from gptoss_operator.core.placement.policy import PlacementPolicy
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.sim.contract import Policy
from gptoss_operator.sim.policies.keda import Keda
from gptoss_operator.sim.policies.knative import Knative
from gptoss_operator.sim.policies.kubeai import KubeAI
from gptoss_operator.sim.policies.ours import Ours
from gptoss_operator.sim.policies.sizing import Sizing
from gptoss_operator.sim.policies.skyserve import RequestRate
from gptoss_operator.sim.policies.spothedge import SpotHedge
from gptoss_operator.sim.policies.static import Static


OURS, OURS_ON_DEMAND, STATIC, SPOTHEDGE = "ours", "ours, on demand", "static", "spothedge"
KEDA, KNATIVE, KUBEAI = "keda", "knative", "kubeai"
ON_DEMAND: Final = (KEDA, KNATIVE, KUBEAI)
MOST: Final = 40
"""Replicas."""
BASE: Final = 0
"""On-demand replicas that spot never replaces, here: as SpotHedge, which has none."""
OUR_INTERVAL: Final = 10.0
"""Seconds between our decisions here, besides those at events. The operator decides every 5 s."""

Points = Mapping[str, Policy]
"""Policies by the setting of their knobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One policy with all settings that are tried."""

    name: str
    points: Points


def ours(
    *, utilization: float | None = None, extra: int | None = None, spot: bool = True, least: int = 1, name: str = OURS
) -> Ours:
    """Return our policy: its defaults, but for what is given."""
    scaling = ScalingPolicy(min_replicas=least, max_replicas=MOST)
    placement = PlacementPolicy(spot=spot, prices=PRICES, base_on_demand=BASE)
    if utilization is not None:
        scaling = replace(scaling, utilization=utilization)
    if extra is not None:
        placement = replace(placement, max_extra=extra)
    return Ours(scaling=scaling, placement=placement, interval_seconds=OUR_INTERVAL, name=name)


def our_curve() -> Family:
    """Return ours over utilization and the most extra spot replicas."""
    grid = product((0.45, 0.55, 0.65, 0.75, 0.85), (4, 8))
    return Family(
        name=OURS, points={f"u {u:g}, extra {k}": ours(utilization=u, extra=k, name=f"ours {u:g}/{k}") for u, k in grid}
    )


def our_curve_on_demand() -> Family:
    """Return ours without spot machines, over utilization."""
    return Family(
        name=OURS_ON_DEMAND,
        points={
            f"u {u:g}": ours(utilization=u, spot=False, name=f"ours on demand {u:g}")
            for u in (0.45, 0.55, 0.65, 0.75, 0.85)
        },
    )


def static_curve(sizing: Sizing) -> Family:
    """Return fleets of fixed size around what the busiest minutes take."""
    sizes = range(max(1, sizing.replicas - 2), sizing.replicas + 8)
    return Family(name=STATIC, points={str(size): Static(replicas=size) for size in sizes})


def spothedge_grid(sizing: Sizing) -> Family:
    """Return SpotHedge over its target, its delays (the last is its default) and its overprovisioning."""
    delays = ((60.0, 600.0), (60.0, 1200.0), (300.0, 1200.0))
    points = {
        f"qps {share:g}, {up:.0f}/{down:.0f} s, +{over}": SpotHedge(
            rate=RequestRate(
                qps_per_replica=share * sizing.requests_per_second, up_seconds=up, down_seconds=down, max_replicas=MOST
            ),
            overprovision=over,
            name=f"spothedge {share:g}/{up:.0f}/{down:.0f}/+{over}",
        )
        for share, (up, down), over in product((0.5, 0.6, 0.7, 0.8), delays, (0, 1, 2))
    }
    return Family(name=SPOTHEDGE, points=points)


def on_demand_grids(sizing: Sizing) -> Sequence[Family]:
    """Return the autoscalers of replicas on demand, with their defaults among the settings."""
    keda = {
        f"threshold {threshold:g}, window {window:.0f} s": Keda(
            threshold=threshold, down_window_seconds=window, max_replicas=MOST, name=f"keda {threshold:g}/{window:.0f}"
        )
        for threshold, window in product((0.5, 1.0, 2.0, 5.0), (300.0, 1800.0))
    }
    knative = {
        f"target {share:g}, delay {delay:.0f} s": Knative(
            concurrency=sizing.concurrency,
            utilization=share,
            down_delay_seconds=delay,
            max_replicas=MOST,
            name=f"knative {share:g}/{delay:.0f}",
        )
        for share, delay in product((0.3, 0.5, 0.7), (0.0, 1800.0))
    }
    kubeai = {
        f"target {target:g}, delay {delay:.0f} s": KubeAI(
            target_requests=target, down_delay_seconds=delay, max_replicas=MOST, name=f"kubeai {target:g}/{delay:.0f}"
        )
        for target, delay in product((4.0, 6.0, 8.0, 100.0), (30.0, 1800.0))
    }
    return (
        Family(name=KEDA, points=keda),
        Family(name=KNATIVE, points=knative),
        Family(name=KUBEAI, points=kubeai),
    )
