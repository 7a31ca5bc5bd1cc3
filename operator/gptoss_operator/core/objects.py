"""The fields of Kubernetes objects that the operator reads, and nothing else of them.

The reflectors decode the API server's JSON straight into these, so that thousands of objects stay small.
"""

from datetime import datetime

from msgspec import Raw, Struct, field, structs

from gptoss_operator.api import names


class OwnerReference(Struct, frozen=True, rename="camel"):
    """Who an object belongs to."""

    uid: str
    kind: str
    name: str
    controller: bool = False


class Annotations(
    Struct,
    frozen=True,
    rename={
        "keys_version": names.ANNOTATION_KEYS,
        "week": names.ANNOTATION_WEEK,
        "traffic": names.ANNOTATION_TRAFFIC,
        "replaces": names.ANNOTATION_REPLACES,
        "config": names.ANNOTATION_CONFIG,
    },
):
    """The annotations that the operator reads."""

    keys_version: str = ""
    """On a gateway pod: version of the Secret with API keys that it was last told of."""
    week: str = ""
    """On the ConfigMap of the history: what was needed in the past week."""
    traffic: str = ""
    """On a replica and its pod: which requests it gets."""
    replaces: str = ""
    """On a replica: the uid of the StatefulSet of the one that leaves for it."""
    config: str = ""
    """On a gateway pod: digest of what it was made from."""


class ObjectMeta(Struct, frozen=True, rename="camel"):
    """Metadata that every object has."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""
    generation: int | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    """When it has to be gone."""
    deletion_grace_period_seconds: int = 0
    """How long before that it was deleted."""
    labels: dict[str, str] = {}
    annotations: Annotations = Annotations()
    owner_references: tuple[OwnerReference, ...] = ()


class ContainerStateWaiting(Struct, frozen=True):
    """A container that has not started."""

    reason: str = ""
    message: str = ""


class ContainerStateRunning(Struct, frozen=True, rename="camel"):
    """A container that runs."""

    started_at: datetime | None = None


class ContainerStateTerminated(Struct, frozen=True, rename="camel"):
    """A container that ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerState(Struct, frozen=True):
    """One of three; all None is `waiting` without a reason."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Struct, frozen=True, rename="camel"):
    """What the kubelet says of a container."""

    name: str
    ready: bool = False
    started: bool | None = None
    """Whether its startup probe has passed, or it has none. None: it does not run."""
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodCondition(Struct, frozen=True, rename="camel"):
    """What the scheduler or the kubelet says of a pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None
    """When `status` last changed."""


class ContainerResources(Struct, frozen=True):
    """What a container takes of its node."""

    limits: dict[str, str] = {}


class Container(Struct, frozen=True):
    """A container as it was asked for."""

    resources: ContainerResources = ContainerResources()


class PodSpec(Struct, frozen=True, rename="camel"):
    """Where a pod runs, and what it takes there."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()


class PodStatus(Struct, frozen=True, rename="camel"):
    """How a pod is."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = field(default="", name="podIP")
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Struct, frozen=True):
    """A pod of a replica or of a gateway."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class ChildCondition(Struct, frozen=True):
    """What a controller says of an object."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class ChildStatus(Struct, frozen=True, rename="camel"):
    """How an object is. Read of Jobs only."""

    start_time: datetime | None = None
    conditions: tuple[ChildCondition, ...] = ()


class Child(Struct, frozen=True):
    """An object that the operator applied: StatefulSet, Deployment, Service, ConfigMap and so on.

    Also what the operator only has to know the version of.
    """

    metadata: ObjectMeta
    status: ChildStatus = ChildStatus()


class Record(Child, frozen=True):
    """A ControllerRevision: the pod template of one revision. It never changes."""

    data: Raw = Raw()
    """JSON that `core.records.template_of` reads: seldom, so it is kept as the bytes that it came in."""
    revision: int = 0
    """Which one it is of its deployment's, counted from the first."""

    def __post_init__(self) -> None:
        # The bytes are a view into the whole page or event that they came in, which would stay in memory with them.
        structs.force_setattr(self, "data", self.data.copy())


class Taint(Struct, frozen=True):
    """A taint of a node."""

    key: str
    effect: str
    value: str = ""


class NodeSpec(Struct, frozen=True):
    """What keeps pods off a node."""

    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class NodeCondition(Struct, frozen=True, rename="camel"):
    """What the kubelet or the node controller says of a node."""

    type: str
    status: str
    reason: str = ""
    last_transition_time: datetime | None = None
    """When `status` last changed."""


class NodeStatus(Struct, frozen=True):
    """How a node is."""

    allocatable: dict[str, str] = {}
    conditions: tuple[NodeCondition, ...] = ()


class Node(Struct, frozen=True):
    """A node that replicas may run on."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


def gpus_of(pod: Pod, resource: str) -> int:
    """Return how many units of an extended resource, such as `nvidia.com/gpu`, a pod takes of its node."""
    limits = (container.resources.limits.get(resource, "") for container in pod.spec.containers)
    return sum(int(limit) for limit in limits if limit.isdecimal())
