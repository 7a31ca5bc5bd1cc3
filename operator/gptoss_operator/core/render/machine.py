"""The machine of one replica: what its place becomes in its StatefulSet, and how it is read from there again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gptoss_operator.api.names import LABEL_CAPACITY, LABEL_POOL, LABEL_ZONE
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.placement.node_facts import affinity_terms, spot_tolerations
from gptoss_operator.core.placement.places import CapacityType, Place


CAPACITY_LABELS: Final = MappingProxyType({CapacityType.SPOT: "spot", CapacityType.ON_DEMAND: "on-demand"})
"""Values of the label. A replica whose capacity type was not chosen has no label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a place adds to a StatefulSet and to its pod. It is no part of the revision."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Of both."""
    tolerations: tuple[Manifest, ...] = ()
    """Of the pod, beside those that it has anyway."""
    fields: Manifest = field(default_factory=dict)
    """Of the pod's spec."""


ANY_MACHINE: Final = Machine()


def machine_of(place: Place, spec: GptOssSpec) -> Machine:
    """Return what `place` becomes. Nothing, where nothing was chosen."""
    terms = affinity_terms(place, pools=spec.gpu.pools, extra=spec.spot.labels)
    labels = {
        LABEL_CAPACITY: CAPACITY_LABELS.get(place.capacity, ""),
        LABEL_ZONE: place.zone,
        LABEL_POOL: place.pool,
    }
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return Machine(
        labels={key: value for key, value in labels.items() if value},
        tolerations=tuple(spot_tolerations()) if place.capacity is CapacityType.SPOT else (),
        fields={"affinity": {"nodeAffinity": required}} if terms else {},
    )


def place_of(labels: Mapping[str, str]) -> Place:
    """Return the place that a StatefulSet with these labels was made for."""
    words = {word: capacity for capacity, word in CAPACITY_LABELS.items()}
    return Place(
        capacity=words.get(labels.get(LABEL_CAPACITY, ""), CapacityType.ANY),
        zone=labels.get(LABEL_ZONE, ""),
        pool=labels.get(LABEL_POOL, ""),
    )
