"""What a user may ask for: the `spec` of a GptOssDeployment.

Static rules are CEL in the schema (`rules`), so the API server refuses a bad object before anything happens.
A field that does nothing yet is not here.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema

from gptoss_operator.api.adapters import adapter_names
from gptoss_operator.api.base import ApiModel, DnsName, LabelValue, Quantity
from gptoss_operator.api.cache import CacheSpec
from gptoss_operator.api.engine import EngineSpec
from gptoss_operator.api.model import HuggingFaceSource, ModelSource, ModelSpec, SecretKeyRef
from gptoss_operator.api.placement import GpuPool, PriceSpec, SpotSpec
from gptoss_operator.api.rollout import RolloutSpec, UpgradePolicy
from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.api.rules import Rule
from gptoss_operator.api.scaling import BudgetSpec, ScalingSpec
from gptoss_runtime.model.gpus import GpuType
from gptoss_runtime.orders import Cloud


AUTO: Final = "auto"
ROOM_AT_ONCE: Final = 1016
"""Replicas that a gateway keeps room for although they may never exist at once. HAProxy takes 9 KB for each and opens
two files at most; with twice as many it would ask for more than the 20,000 files that some containers may open."""
TENSOR_PARALLEL_SIZES: Final = (1, 2, 4, 8)
"""GPUs that can share one gpt-oss model: its 8 key-value heads must divide evenly."""
TensorParallel = Annotated[
    Literal[1, 2, 4, 8, "auto"], WithJsonSchema({"x-kubernetes-int-or-string": True, "default": AUTO})
]


class Toleration(ApiModel):
    """A taint of nodes that replicas accept, as in a pod."""

    key: str | None = Field(default=None, max_length=317)
    """Taint's key. Absent with operator Exists: every taint."""
    operator: str | None = Field(default=None, pattern="^(Exists|Equal)$")
    """Exists or Equal. Default Equal."""
    value: LabelValue | None = None
    """Taint's value, for Equal."""
    effect: str | None = Field(default=None, pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")
    """Effect to accept. Absent: every effect."""
    toleration_seconds: int | None = Field(default=None, ge=0)
    """How long a NoExecute taint is borne. Absent: for ever."""


class GpuSpec(ApiModel):
    """Which GPUs replicas take, and on which nodes."""

    resource: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[\w.-]+$", max_length=253)
    """Extended resource that a replica asks `tensorParallel` of, such as `nvidia.com/gpu` or `amd.com/gpu`."""
    type: GpuType | None = None
    """Which GPU a replica gets, for the memory plan. Default: what the labels of the nodes say that nodeSelector
    chooses."""
    memory: Quantity | None = None
    """Memory of one GPU, for a type that is not listed, such as `80Gi`."""
    node_selector: dict[str, LabelValue] = Field(default_factory=dict, max_length=32)
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)
    """Taints that replicas accept. A taint with the key of `resource` is always accepted."""
    pools: tuple[GpuPool, ...] = Field(
        default=(),
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Several types of GPU to choose from by price. Default: one pool, all nodes that nodeSelector chooses."""
    runtime_class_name: DnsName | None = None
    """RuntimeClass of the replicas, where the cluster needs one for GPUs (often `nvidia`)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.type) && has(self.memory))", "set type or memory, not both", field="memory"),
    )


class HealthSpec(ApiModel):
    """When a replica counts as broken. Overload and long loading never do."""

    stall_seconds: int = Field(default=30, ge=5, le=3600)
    """How long vLLM's engine may have requests without taking a step, until the replica takes no more of them."""
    restart_seconds: int = Field(default=120, ge=10, le=7200)
    """How long it may stay so until it is started again."""
    probe_seconds: int = Field(default=60, ge=5, le=3600)
    """Between two probes of a replica that has no requests."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.restartSeconds) || !has(self.stallSeconds) || self.restartSeconds >= self.stallSeconds",
            "a replica is started again after it has taken no more requests: restartSeconds is at least stallSeconds",
            field="restartSeconds",
        ),
    )


class InterruptionSpec(ApiModel):
    """How a replica learns that its machine will be taken away."""

    cloud: Cloud = Cloud.AUTO
    """Whose metadata service each replica asks: AWS, GCP, Azure, Off, or Auto (what the machine's firmware says)."""


class EnvVar(ApiModel):
    """One environment variable of the server: a value, or a key of a Secret."""

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)
    """Name of the variable. Names that begin with GPTOSS_ are the operator's."""
    value: str | None = Field(default=None, max_length=32768)
    """Its value, as it is."""
    secret_key_ref: SecretKeyRef | None = None
    """Secret and key that hold its value."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.value) != has(self.secretKeyRef)", "set one of value and secretKeyRef"),
        Rule("!self.name.startsWith('GPTOSS_')", "names that begin with GPTOSS_ are the operator's", field="name"),
    )


class Resources(ApiModel):
    """CPU and memory of a replica. GPUs follow from tensorParallel and gpu.resource."""

    cpu: Quantity | None = None
    """CPU request. vLLM starts faster with 8 or more. There is no limit: it would slow the start."""
    memory: Quantity | None = None
    """Memory request and limit. It includes sharedMemory."""


class PodOverrides(ApiModel):
    """What replicas' pods have beside what the operator decides."""

    labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=32)
    """Further labels. Those of the operator win. A change of labels and annotations reaches replicas as they are
    made."""
    annotations: dict[str, Annotated[str, Field(max_length=4096)]] = Field(default_factory=dict, max_length=32)
    """Further annotations."""
    env: tuple[EnvVar, ...] = Field(default=(), max_length=64)
    """Further environment variables of the server."""
    resources: Resources = Resources()
    """CPU and memory."""
    shared_memory: Quantity = "8Gi"
    """Size of /dev/shm, which tensor parallel workers exchange data through."""
    priority_class_name: DnsName | None = None
    """PriorityClass of the pods."""
    service_account_name: DnsName | None = None
    """ServiceAccount of the pods, for image pull or cloud identity. Its token is never mounted."""
    image_pull_secrets: tuple[DnsName, ...] = Field(default=(), max_length=16)
    """Secrets for pulling the image."""


class GptOssSpec(ApiModel):
    """What the user asks for."""

    model: ModelSpec
    """Which model is served."""
    image: str | None = Field(default=None, min_length=1, max_length=500)
    """Image of the model server. Default: the operator's, kept in status once it was chosen."""
    tensor_parallel: TensorParallel = AUTO
    """GPUs that share the model: 1, 2, 4, 8, or auto: the fewest that hold it with room for requests, decided once."""
    cache: CacheSpec = CacheSpec()
    """Where fetched weights and compiled kernels are kept."""
    gpu: GpuSpec = GpuSpec()
    """Which GPUs replicas take, and on which nodes."""
    engine: EngineSpec = EngineSpec()
    """How vLLM runs."""
    replicas: int | None = Field(default=None, ge=0, le=1000)
    """Number of replicas, set by hand or by /scale. Excludes scaling."""
    scaling: ScalingSpec | None = None
    """How many replicas there are. Excludes replicas. Default: one replica."""
    spot: SpotSpec = SpotSpec()
    """Replicas on spot machines."""
    prices: tuple[PriceSpec, ...] = Field(default=(), max_length=128)
    """What GPUs cost, for choosing machines, for the budget, and for the cost in the status."""
    mode: Literal["Active", "DryRun"] = "Active"
    """Active, or DryRun: decide and report in the status, and change nothing else."""
    routing: RoutingSpec = RoutingSpec()
    """How requests reach the replicas."""
    health: HealthSpec = HealthSpec()
    """When a replica counts as broken."""
    interruption: InterruptionSpec = InterruptionSpec()
    """How a replica learns that its machine will be taken away."""
    drain_seconds: int = Field(default=120, ge=0, le=86400)
    """How long running requests may go on when their replica or gateway pod is to leave."""
    pod: PodOverrides = PodOverrides()
    """What replicas' pods have beside what the operator decides."""
    rollout: RolloutSpec = RolloutSpec()
    """How replicas of one revision are replaced by those of the next."""
    upgrade_policy: UpgradePolicy = UpgradePolicy.NEVER
    """When defaults in `status.resolved` move to those of a newer operator: Never, WithChange (with the next change of
    the spec that replaces replicas), or Always (replicas are replaced then)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.replicas) && has(self.scaling))",
            "set replicas (by hand, or by an autoscaler of yours through /scale) or scaling, not both",
            field="replicas",
        ),
        Rule(
            "type(self.tensorParallel) == int ? self.tensorParallel in [1, 2, 4, 8] : self.tensorParallel == 'auto'",
            "gpt-oss has 8 key-value heads: set 1, 2, 4, 8 or auto",
            field="tensorParallel",
        ),
    )


def desired_replicas(spec: GptOssSpec) -> int:
    """Return how many replicas the user asks for, as long as nothing is known of the load."""
    if spec.replicas is not None:
        return spec.replicas
    return (spec.scaling or ScalingSpec()).min_replicas


def most_replicas(spec: GptOssSpec) -> int:
    """Return how many replicas there may be at most, schedules included."""
    if spec.replicas is not None:
        return spec.replicas
    scaling = spec.scaling or ScalingSpec()
    return max(
        scaling.usual_most, *(schedule.max_replicas or schedule.min_replicas or 0 for schedule in scaling.schedules), 0
    )


def most_replicas_at_once(spec: GptOssSpec) -> int:
    """Return how many replicas may exist at one moment, so that gateways have room for them.

    All may be replaced at once: those that finish their requests exist beside their successors.
    """
    most = most_replicas(spec)
    extra = spec.spot.max_extra if spec.spot.enabled else 0
    return max(most, min(2 * most + extra, ROOM_AT_ONCE))


def follows_load(spec: GptOssSpec) -> bool:
    """Return whether the number of replicas is decided by the load, the time or a budget."""
    return (
        spec.replicas is None
        and (spec.scaling is not None)
        and (
            bool(spec.scaling.schedules)
            or most_replicas(spec) > spec.scaling.min_replicas
            or spec.scaling.budget != BudgetSpec()
        )
    )


def gpus_of_replica(spec: GptOssSpec, tensor_parallel: int) -> int:
    """Return how many GPUs one replica takes."""
    return tensor_parallel * spec.engine.pipeline_parallel


def served_name(spec: GptOssSpec, deployment: str) -> str:
    """Return the name that clients send as `model`."""
    if spec.model.served_name:
        return spec.model.served_name
    return f"openai/{spec.model.name}" if spec.model.name else deployment


def model_names(spec: GptOssSpec, deployment: str) -> tuple[str, ...]:
    """Return every name that clients may send as `model`: the served one first, then the LoRA adapters."""
    return tuple(dict.fromkeys((served_name(spec, deployment), *adapter_names(spec.engine.extra_args))))


def model_source(spec: GptOssSpec) -> ModelSource:
    """Return where the weights come from."""
    if spec.model.source:
        return spec.model.source
    return ModelSource(hugging_face=HuggingFaceSource(repository=f"openai/{spec.model.name}"))
