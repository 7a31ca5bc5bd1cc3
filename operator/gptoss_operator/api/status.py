"""What the operator reports: the `status` of a GptOssDeployment, and its conditions."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from gptoss_operator.api.base import ApiModel
from gptoss_operator.api.status_rollout import RefusedRevision, RevisionStatus, RolloutStatus
from gptoss_operator.api.status_scaling import (
    CapacityStatus,
    ColdStartStatus,
    CostStatus,
    DecisionStatus,
    ZoneStatus,
)
from gptoss_runtime.contract import NoticeKind


class ConditionType(StrEnum):
    """Conditions of a GptOssDeployment."""

    ACCEPTED = "Accepted"
    """The spec is understood and can be carried out."""
    AVAILABLE = "Available"
    """At least one replica and one gateway pod answer."""
    PROGRESSING = "Progressing"
    """Replicas are being started, replaced or removed."""
    DEGRADED = "Degraded"
    """Something is wrong that a person may have to see to."""
    SCALING_ACTIVE = "ScalingActive"
    """The load is measured and followed. Present only where scaling follows the load."""
    SATURATED = "SaturatedAtMax"
    """More replicas are needed than maxReplicas or the budget allows. Present only where scaling follows the load."""
    CAPACITY_AVAILABLE = "CapacityAvailable"
    """Machines come when they are asked for. Present only with spot machines."""
    MODEL_CACHED = "ModelCached"
    """The weights are in the cache's claim. Present only where a Job fetches them."""
    RECONCILING = "Reconciling"
    """kstatus: work is under way. Present only while True."""
    STALLED = "Stalled"
    """kstatus: work cannot go on without a person. Present only while True."""


class Reason(StrEnum):
    """Reasons of conditions and events."""

    VALID = "Valid"
    INVALID_SPEC = "InvalidSpec"
    DOES_NOT_FIT = "DoesNotFit"
    NAME_TAKEN = "NameTaken"
    EARLIER_BEING_REMOVED = "EarlierBeingRemoved"
    REFUSED_BY_CLUSTER = "RefusedByCluster"

    REPLICAS_READY = "ReplicasReady"
    NO_REPLICA_READY = "NoReplicaReady"
    NO_GATEWAY_READY = "NoGatewayReady"
    SCALED_TO_ZERO = "ScaledToZero"

    SETTLED = "Settled"
    REPLICAS_STARTING = "ReplicasStarting"
    REPLICAS_REMOVED = "ReplicasRemoved"
    GATEWAY_STARTING = "GatewayStarting"
    GATEWAY_ROLLING = "GatewayRolling"
    REPLICA_DRAINING = "ReplicaDraining"
    INTERRUPTION_NOTICE = "InterruptionNotice"

    AS_EXPECTED = "AsExpected"
    UNSCHEDULABLE = "Unschedulable"
    NODE_LOST = "NodeLost"
    INSUFFICIENT_GPU = "InsufficientGPU"
    VOLUME_NOT_FOUND = "VolumeNotFound"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    SERVER_REFUSED_ORDERS = "ServerRefusedOrders"
    SERVER_START_FAILED = "ServerStartFailed"
    ENGINE_DIED = "EngineDied"
    OUT_OF_MEMORY = "OutOfMemory"
    CRASH_LOOP = "CrashLoop"
    POD_NOT_CREATED = "PodNotCreated"
    UNHEALTHY_REPLICA = "UnhealthyReplica"
    GATEWAY_FAILED = "GatewayFailed"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a word for programs
    KIND_NOT_INSTALLED = "KindNotInstalled"

    WEIGHTS_CACHED = "WeightsCached"
    WEIGHTS_FETCHING = "WeightsFetching"
    WEIGHTS_FETCH_FAILED = "WeightsFetchFailed"

    LOAD_MEASURED = "LoadMeasured"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    DRY_RUN = "DryRun"
    AT_MAXIMUM = "AtMaximum"
    BELOW_MAXIMUM = "BelowMaximum"
    MACHINES_COME = "MachinesCome"
    SPOT_SHORT = "SpotShort"
    MACHINES_SHORT = "MachinesShort"
    SCALED_UP = "ScaledUp"
    SCALED_DOWN = "ScaledDown"
    REPLACED_EARLY = "ReplacedEarly"
    ZONE_SUSPECT = "ZoneSuspect"
    REPLICA_SILENT = "ReplicaSilent"

    ROLLOUT_PROGRESSING = "RolloutProgressing"
    ROLLOUT_PAUSED = "RolloutPaused"
    ROLLOUT_WAITING = "RolloutWaiting"
    ROLLOUT_STARTED = "RolloutStarted"
    ROLLOUT_COMPLETE = "RolloutComplete"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLED_BACK = "RolledBack"
    STRATEGY_CHOSEN = "StrategyChosen"
    GATE_PASSED = "GatePassed"
    GATE_FAILED = "GateFailed"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    WRONG_ANSWERS = "WrongAnswers"
    CANARY_WORSE = "CanaryWorse"

    REPLICA_CREATED = "ReplicaCreated"
    REPLICA_REMOVED = "ReplicaRemoved"


class Condition(ApiModel):
    """One metav1.Condition."""

    type: ConditionType
    """What it is about."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Reason
    """Why, in one word for programs."""
    message: str = Field(max_length=1024)
    """Why, in words for people."""
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    """When `status` last changed."""
    observed_generation: int = 0
    """Generation of the spec that it was decided for."""


class ResolvedDefaults(ApiModel):
    """Defaults that may differ between releases of the operator, as they were when this object was first seen."""

    image: str | None = None
    """Image of the model server, for a spec that names none."""
    model_revision: str | None = None
    """Commit or branch of the model's own repository, for a spec that names no source. Absent: its default branch."""
    orders_version: int | None = None
    """Version of the orders that `image` was chosen for. Where a newer operator gives others, it chooses another image
    with the next revision."""
    gateway_image: str | None = None
    """Image of the gateway, for a spec that names none."""
    activator_image: str | None = None
    """Image of the gateway's sidecar, for a spec that names none."""
    tensor_parallel: int | None = None
    """GPUs that share the model. A spec that says `auto` keeps them."""
    planned_for: str | None = None
    """Digest of the model, options and GPUs whose memory plan was accepted. It is not refused later."""


class CachedWeights(ApiModel):
    """Weights that a Job has brought into a claim."""

    claim: str
    """Name of the claim."""
    claim_uid: str = ""
    """Which one of that name, for a claim that the operator made."""
    directory: str
    """Where they are in it, below `weights`."""


class InterruptionNotice(ApiModel):
    """What a cloud has announced to a replica."""

    replica: str
    """Name of the replica, such as `chat-r0`."""
    kind: NoticeKind
    """Termination, Maintenance, or Rebalance: its machine may be taken away soon, and its requests go on."""
    source: str
    """Where the replica read it."""
    deadline: str | None = Field(default=None, json_schema_extra={"format": "date-time"})
    """When it happens. Absent: not said."""


class GptOssStatus(ApiModel):
    """What the operator last saw and decided."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    conditions: tuple[Condition, ...] = Field(
        default=(), json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    )
    """Accepted, Available, Progressing, Degraded; ModelCached with a cache claim; Reconciling and Stalled while they
    are True."""
    url: str | None = None
    """Base URL for OpenAI clients inside the cluster."""
    served_model: str | None = None
    """Name that clients send as `model`."""
    replicas: int | None = None
    """Replicas that exist."""
    ready_replicas: int | None = None
    """Replicas that answer requests."""
    updated_replicas: int | None = None
    """Replicas of the current revision."""
    desired_replicas: int | None = None
    """Replicas that should exist."""
    ready: str | None = None
    """Ready and desired replicas, such as `2/3`."""
    ready_gateways: int | None = None
    """Gateway pods that answer requests."""
    selector: str | None = None
    """Label selector of the replicas' pods, for autoscalers that use /scale."""
    revision: str | None = None
    """Hash of everything in the spec that needs replicas to start again, and of the defaults in `resolved`."""
    current_revision: str | None = None
    """The last revision that has come to serve as a whole: what a failed one goes back to."""
    rollout: RolloutStatus | None = None
    """The rollout that is under way. Absent: there is none."""
    refused_revision: RefusedRevision | None = None
    """The revision that the spec asks for and that has failed. Absent: there is none."""
    history: tuple[RevisionStatus, ...] | None = Field(default=None, max_length=5)
    """The last five revisions, the newest first."""
    image: str | None = None
    """Image of the model server that is used: the spec's, else the resolved one."""
    resolved: ResolvedDefaults | None = None
    """Defaults as they were chosen for this object. A newer operator does not change them."""
    cached_weights: tuple[CachedWeights, ...] | None = None
    """What is in the cache's claim, so that it is not fetched again when the Job that did so is deleted."""
    last_decision: DecisionStatus | None = None
    """Why there are as many replicas, where they are."""
    decisions: tuple[DecisionStatus, ...] | None = Field(default=None, max_length=10)
    """The last ten, the newest first."""
    on_demand: CapacityStatus | None = None
    """Replicas on on-demand machines. Present only with spot machines."""
    spot: CapacityStatus | None = None
    """Replicas on spot machines. Present only with spot machines."""
    zones: tuple[ZoneStatus, ...] | None = Field(default=None, max_length=64)
    """What is known of spot machines by zone. Present only with spot machines."""
    cold_start: ColdStartStatus | None = None
    """How long replicas take to become ready. Absent: none was seen."""
    cost: CostStatus | None = None
    """What the replicas cost. Absent: there are no prices."""
    notices: tuple[InterruptionNotice, ...] | None = Field(
        default=None, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["replica"]}
    )
    """What clouds have announced to replicas that exist, at most a hundred of them."""
