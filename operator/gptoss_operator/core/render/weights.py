"""What fills a cache claim before replicas start: a Job that fetches the weights, and the claim itself."""

from typing import Final

from gptoss_operator.api import names
from gptoss_operator.api.cache import CacheClaim
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import CONTAINER_SECURITY, POD_SECURITY, metadata
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.pod_parts import (
    access_env,
    access_env_from,
    pod_metadata,
    tolerations,
    users_env,
    users_fields,
)
from gptoss_operator.core.render.volumes import CACHE_MOUNT, SCRATCH, SCRATCH_ENV, SCRATCH_MOUNT, cache_volume
from gptoss_operator.core.sources import Fetch
from gptoss_runtime.contract import ExitCode
from gptoss_runtime.orders import WEIGHTS_ENV, WeightsOrder


ATTEMPTS_MORE: Final = 6
"""How often a failed fetch is tried again. Each goes on where the last one ended, and waits for the network itself."""
STOP_SECONDS: Final = 30
RESOURCES: Final[Manifest] = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "4Gi"}}
DIGEST_LENGTH: Final = 10


def weights_job(owner: Owner, spec: GptOssSpec, image: str, fetch: Fetch, options: RenderOptions) -> Manifest:
    """Return the Job that fetches. Jobs cannot be changed, so its name has a digest of it: a change is another Job.

    So is another size of the claim, since a fetch may have failed for want of room.
    """
    claim = spec.cache.persistent_volume_claim
    template = {
        "metadata": pod_metadata(owner.name, spec, names.COMPONENT_WEIGHTS),
        "spec": _pod(owner.name, spec, image, fetch.order, options),
    }
    labels = {names.LABEL_WEIGHTS: fetch.identity}
    template["metadata"]["labels"].update(labels)
    digest = digest_of({**template, "size": claim.size if claim else None})[:DIGEST_LENGTH]
    name = names.weights_job(owner.name, digest)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(owner, name, names.COMPONENT_WEIGHTS, labels=labels),
        "spec": {
            "backoffLimit": ATTEMPTS_MORE,
            "podFailurePolicy": {
                "rules": [
                    # An order that cannot be carried out is not tried again, and a drained node is no failure.
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": names.FETCH_CONTAINER,
                            "operator": "In",
                            "values": [ExitCode.BAD_ORDERS],
                        },
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": template,
        },
    }


def cache_claim(owner: Owner, claim: CacheClaim) -> Manifest:
    """Return the claim that the operator makes. It is deleted with its owner: what it holds can be fetched again."""
    storage_class = {"storageClassName": claim.storage_class_name} if claim.storage_class_name else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(owner, names.cache_claim(owner.name), names.COMPONENT_WEIGHTS),
        "spec": {
            "accessModes": [claim.access_mode],
            "resources": {"requests": {"storage": claim.size}},
            **storage_class,
        },
    }


def _pod(deployment: str, spec: GptOssSpec, image: str, order: WeightsOrder, options: RenderOptions) -> Manifest:
    """Return the pod that fetches. It needs no GPU, but may run on a GPU node where the volume can only be there."""
    claim = spec.cache.persistent_volume_claim
    on_one_node = claim is not None and claim.access_mode == "ReadWriteOnce"
    selector = {"nodeSelector": spec.gpu.node_selector} if on_one_node and spec.gpu.node_selector else {}
    env_from = access_env_from(spec)
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",  # Failed pods stay, and say why.
        "securityContext": POD_SECURITY,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "containers": [
            {
                "name": names.FETCH_CONTAINER,
                "image": image,
                "imagePullPolicy": options.image_pull_policy,
                "command": ["gptoss-fetch"],
                "env": [
                    *({"name": key, "value": value} for key, value in SCRATCH_ENV.items()),
                    *access_env(spec),
                    *users_env(spec),
                    {"name": WEIGHTS_ENV, "value": order.encode()},
                ],
                **({"envFrom": env_from} if env_from else {}),
                "resources": RESOURCES,
                "securityContext": CONTAINER_SECURITY,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [SCRATCH_MOUNT, CACHE_MOUNT],
            }
        ],
        "volumes": [SCRATCH, cache_volume(deployment, spec)],
        "tolerations": tolerations(spec),
        **selector,
        **users_fields(spec),
    }
