"""What one pass hands to the next of the same object. The process keeps it; a new process begins from the status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gptoss_operator.core.placement.decision import MarketMemory
from gptoss_operator.core.placement.places import Place
from gptoss_operator.core.scaling.decision import ScalingMemory


STARTS_KEPT: Final = 50
"""Cold starts that are remembered: enough for a 90th percentile, few enough to follow a new image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotPod:
    """A pod on a spot machine, as it was last seen."""

    node: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one GptOssDeployment. It may be lost at any time: then less is known, nothing is wrong."""

    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    market: MarketMemory = field(default_factory=MarketMemory)
    starts: tuple[float, ...] = ()
    """Seconds of the last cold starts, from the creation of a pod until it was ready, the newest last."""
    started: frozenset[str] = frozenset()
    """Uids of pods that exist and whose start is among `starts`."""
    interrupted: frozenset[str] = frozenset()
    """Uids of pods that exist and whose interruption has been told to the placement."""
    spot_pods: Mapping[str, SpotPod] = field(default_factory=dict)
    """Pods on spot machines at the last pass, by uid."""
