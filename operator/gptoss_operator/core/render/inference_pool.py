"""An InferencePool over the replicas, for users of the Gateway API."""

from gptoss_operator.api.names import COMPONENT_REPLICA, inference_pool, selector
from gptoss_operator.api.routing import InferencePoolSpec
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata
from gptoss_runtime.contract import OPENAI_PORT


def pool_of_replicas(owner: Owner, spec: InferencePoolSpec) -> Manifest:
    """Return the InferencePool. Without its endpoint picker, requests go to any replica instead of nowhere."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(owner, inference_pool(owner.name), COMPONENT_REPLICA),
        "spec": {
            "selector": {"matchLabels": selector(owner.name, COMPONENT_REPLICA)},
            "targetPorts": [{"number": OPENAI_PORT}],
            "endpointPickerRef": {
                "name": spec.endpoint_picker_name,
                "port": {"number": spec.endpoint_picker_port},
                "failureMode": "FailOpen",
            },
        },
    }
