"""What the installation decides for all deployments."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gptoss_operator.api.placement import PriceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """Settings of the operator that show in manifests, and in what is decided."""

    server_image: str
    """Image of the model server for objects that name none."""
    gateway_image: str
    """Image of the gateway for objects that name none."""
    activator_image: str
    """Image of the gateway's sidecar for objects that name none."""
    image_pull_policy: str = "IfNotPresent"
    """Pull policy of all."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    model_revisions: Mapping[str, str] = field(default_factory=dict)
    """Commit or branch of each model's own repository, for objects that name no source; a model that is absent has its
    repository's default branch."""
    prices: tuple[PriceSpec, ...] = ()
    """What GPUs cost, for objects that have no price of their own for a place."""
