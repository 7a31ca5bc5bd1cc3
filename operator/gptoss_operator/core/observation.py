"""What the core decides from: one GptOssDeployment and everything that belongs to it, as last seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from gptoss_operator.api.status import Reason
from gptoss_operator.core.objects import Child, Node, Pod, Record
from gptoss_operator.core.scaling.load import NOTHING_KNOWN, Load
from gptoss_runtime.contract import ReplicaState


Manifest = dict[str, Any]
"""A Kubernetes object as it is sent to the API server."""


class ChildKey(NamedTuple):
    """Kind and name of an object in the deployment's namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The user's object."""

    name: str
    namespace: str
    uid: str
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedChild:
    """One object that belongs to the owner."""

    object: Child
    applied_digest: str | None
    """`digest` of the manifest that was last applied, as long as nobody has changed the object since. None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a child could not be applied, or what the spec refers to and is not there."""

    reason: Literal[
        Reason.NAME_TAKEN,
        Reason.REFUSED_BY_CLUSTER,
        Reason.EARLIER_BEING_REMOVED,
        Reason.KIND_NOT_INSTALLED,
        Reason.SECRET_NOT_FOUND,
    ]
    message: str
    """What was refused, and what the user can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen when a pass began."""

    owner: Owner
    children: Mapping[ChildKey, ObservedChild] = field(default_factory=dict)
    """What the operator applied: StatefulSets, Services and so on that the owner controls."""
    replica_pods: tuple[Pod, ...] = ()
    """Pods of the replicas, terminating ones included."""
    revisions: Mapping[str, Record] = field(default_factory=dict)
    """The records of the owner's revisions, by the revision. They are among the children too."""
    gateway_pods: tuple[Pod, ...] = ()
    """Pods of the gateway, terminating ones included."""
    weights_pods: tuple[Pod, ...] = ()
    """Pods of the Jobs that fetch weights, terminating ones included."""
    podless_since: Mapping[str, datetime] = field(default_factory=dict)
    """When each StatefulSet that has no pod was first seen without one, by its name."""
    replica_states: Mapping[str, ReplicaState] = field(default_factory=dict)
    """What replicas said of themselves a moment ago, by their pods' uids. That one is missing says nothing of it."""
    hears_replicas: bool = True
    """Whether replicas are asked at all. False: nothing will ever be in `replica_states`."""
    load: Load = NOTHING_KNOWN
    """What gateways and replicas measured of the requests."""
    unreachable: Mapping[str, datetime] = field(default_factory=dict)
    """Since when neither the operator nor any gateway reaches a replica that was reached before, by its pod's uid."""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """Nodes by name, as far as they may be read."""
    gpus_used: Mapping[str, int] = field(default_factory=dict)
    """GPUs of the kind that the spec names that pods of this and of all other deployments take, by the node's name.
    Pods that have ended take none; those of others than this operator are not seen."""
    secrets: Mapping[str, str] | None = None
    """Version of each Secret that the spec names and that exists. None: Secrets may not be read."""
    problems: Mapping[ChildKey, Problem] = field(default_factory=dict)
    """Children that could not be applied in an earlier pass, until it succeeds."""
