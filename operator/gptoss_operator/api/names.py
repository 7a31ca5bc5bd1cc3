"""Names and labels of everything that belongs to a GptOssDeployment. All are functions of its name alone."""

from typing import Final


GROUP: Final = "gptoss.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "GptOssDeployment"
PLURAL: Final = "gptossdeployments"
SHORT_NAME: Final = "gptoss"

FIELD_MANAGER: Final = "gptoss-operator"
"""The one field manager of every server-side apply."""

NAME_MAX_LENGTH: Final = 40
"""A StatefulSet's pods carry `<name>-r<slot>-<hash>` in a label of at most 63 characters."""

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_DEPLOYMENT: Final = f"{GROUP}/deployment"
LABEL_SLOT: Final = f"{GROUP}/slot"
LABEL_REVISION: Final = f"{GROUP}/revision"
LABEL_CAPACITY: Final = f"{GROUP}/capacity-type"
"""On a replica and its pod: the capacity type that was chosen for it. On a node: its own, where nothing else says."""
LABEL_ZONE: Final = f"{GROUP}/zone"
"""On a replica and its pod: the zone that was chosen for it."""
LABEL_POOL: Final = f"{GROUP}/pool"
"""On a replica and its pod: the pool of GPUs that was chosen for it."""
LABEL_WEIGHTS: Final = f"{GROUP}/weights"
"""On a Job: which weights it brings into which claim, as a digest."""
ANNOTATION_TRAFFIC: Final = f"{GROUP}/traffic"
"""On a replica and its pod: which requests it gets, see `gptoss_runtime.contract.Traffic`. The pod reads its own."""
ANNOTATION_REPLACES: Final = f"{GROUP}/replaces"
"""On a replica of another revision: the uid of the StatefulSet that leaves for it."""
ANNOTATION_CONFIG: Final = f"{GROUP}/config"
"""On a gateway pod: digest of its configuration and of the rest that it was made from."""
ANNOTATION_WEEK: Final = f"{GROUP}/week"
"""On the ConfigMap of the history: how many replicas were needed at each time of the past week."""
ANNOTATION_KEYS: Final = f"{GROUP}/keys"
"""On a gateway pod: version of the Secret with API keys. Its change makes the kubelet look at the Secret at once."""

COMPONENT_REPLICA: Final = "replica"
COMPONENT_GATEWAY: Final = "gateway"
COMPONENT_HISTORY: Final = "history"
"""What was needed in the past week."""
COMPONENT_REVISION: Final = "revision"
"""The record of a revision: its pod template."""
COMPONENT_WEIGHTS: Final = "weights"
"""The Job that fills a cache claim, and the claim."""
APP: Final = "gpt-oss"

REPLICA_CONTAINER: Final = "server"
GATEWAY_CONTAINER: Final = "haproxy"
ACTIVATOR_CONTAINER: Final = "activator"
LONG_PROMPTS_CONTAINER: Final = "long-prompts"
FETCH_CONTAINER: Final = "fetch"


def replica(deployment: str, slot: int) -> str:
    """Return the name of the StatefulSet in `slot`."""
    return f"{deployment}-r{slot}"


def replica_service(deployment: str) -> str:
    """Return the name of the headless Service in which the gateways look up the replicas."""
    return f"{deployment}-replicas"


def replica_disruption_budget(deployment: str) -> str:
    """Return the name of the PodDisruptionBudget of the replicas."""
    return f"{deployment}-replicas"


def history(deployment: str) -> str:
    """Return the name of the ConfigMap that keeps what was needed at each time of the past week."""
    return f"{deployment}-history"


def gateway(deployment: str) -> str:
    """Return the name of the gateway's Deployment, ConfigMap and PodDisruptionBudget."""
    return f"{deployment}-gateway"


def gateways_service(deployment: str) -> str:
    """Return the name of the headless Service in which the gateways find each other."""
    return f"{deployment}-gateways"


def inference_pool(deployment: str) -> str:
    """Return the name of the InferencePool of the replicas."""
    return f"{deployment}-replicas"


def revision_record(deployment: str, revision: str) -> str:
    """Return the name of the ControllerRevision that keeps the pod template of a revision."""
    return f"{deployment}-{revision}"


def cache_claim(deployment: str) -> str:
    """Return the name of the PersistentVolumeClaim that the operator makes for fetched weights."""
    return f"{deployment}-cache"


def weights_job(deployment: str, digest: str) -> str:
    """Return the name of the Job that fetches weights. A Job cannot be changed, so another one has another digest."""
    return f"{deployment}-weights-{digest}"


def client_service(deployment: str) -> str:
    """Return the name of the Service that clients use."""
    return deployment


def identity(deployment: str) -> dict[str, str]:
    """Return the labels that every child carries. The reflectors select by them."""
    return {
        LABEL_NAME: APP,
        LABEL_INSTANCE: deployment,
        LABEL_PART_OF: APP,
        LABEL_MANAGED_BY: FIELD_MANAGER,
        LABEL_DEPLOYMENT: deployment,
    }


def selector(deployment: str, component: str) -> dict[str, str]:
    """Return the labels that select the pods of one component. They never change: selectors are immutable."""
    return {LABEL_DEPLOYMENT: deployment, LABEL_COMPONENT: component}
