"""What all replicas of a deployment share: Services, gateways and disruption budgets."""

from gptoss_operator.api.names import (
    COMPONENT_GATEWAY,
    COMPONENT_REPLICA,
    gateway,
    replica_disruption_budget,
)
from gptoss_operator.api.spec import GptOssSpec, most_replicas_at_once
from gptoss_operator.api.status import ResolvedDefaults
from gptoss_operator.core.observation import ChildKey, Manifest, Observation
from gptoss_operator.core.render.disruption import disruption_budget
from gptoss_operator.core.render.gateway import gateway_config, gateway_deployment
from gptoss_operator.core.render.gateway_pod import GatewayImages
from gptoss_operator.core.render.haproxy.files import gateway_files
from gptoss_operator.core.render.inference_pool import pool_of_replicas
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.render.service import clients_service, peers_service, replicas_service


def shared_children(
    spec: GptOssSpec, resolved: ResolvedDefaults, seen: Observation, options: RenderOptions
) -> dict[ChildKey, Manifest]:
    """Return everything but the replicas, in the order in which it is applied."""
    owner = seen.owner
    files = gateway_files(owner, spec, most_replicas_at_once(spec), options.cluster_domain)
    images = GatewayImages(
        haproxy=spec.routing.gateway.image or resolved.gateway_image or options.gateway_image,
        activator=spec.routing.gateway.activator_image or resolved.activator_image or options.activator_image,
    )
    pool = spec.routing.inference_pool
    return by_key(
        replicas_service(owner),
        peers_service(owner),
        clients_service(owner, spec.routing),
        gateway_config(owner, files),
        gateway_deployment(owner, spec, images, files, options),
        disruption_budget(owner, replica_disruption_budget(owner.name), COMPONENT_REPLICA),
        disruption_budget(owner, gateway(owner.name), COMPONENT_GATEWAY),
        *((pool_of_replicas(owner, pool),) if pool else ()),
    )


def by_key(*manifests: Manifest) -> dict[ChildKey, Manifest]:
    """Return manifests by kind and name."""
    return {ChildKey(m["kind"], m["metadata"]["name"]): m for m in manifests}
