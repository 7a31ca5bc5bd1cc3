"""What the installation decides for all deployments."""

from dataclasses import dataclass

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
    prices: tuple[PriceSpec, ...] = ()
    """What GPUs cost, for objects that have no price of their own for a place."""
