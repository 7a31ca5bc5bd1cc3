"""The volumes of a gateway pod, and where its containers see them."""

from collections.abc import Iterator
from enum import StrEnum

from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.core.observation import Manifest
from gptoss_runtime.gateway_contract import (
    CONFIG_DIRECTORY,
    FILTER_DIRECTORY,
    KEYS_DIRECTORY,
    RUN_DIRECTORY,
    TLS_DIRECTORY,
)


class GatewayVolume(StrEnum):
    """Volumes of the pod."""

    CONFIG = "config"
    RUN = "run"
    KEYS = "keys"
    TLS = "tls"
    FILTER = "filter"


DIRECTORIES = {
    GatewayVolume.CONFIG: CONFIG_DIRECTORY,
    GatewayVolume.RUN: RUN_DIRECTORY,
    GatewayVolume.KEYS: KEYS_DIRECTORY,
    GatewayVolume.TLS: TLS_DIRECTORY,
    GatewayVolume.FILTER: FILTER_DIRECTORY,
}
RUN_SIZE = "64Mi"
"""Sockets and maps: a map of 100,000 API keys has 10 MB."""
SECRET_MODE = 0o440
"""For the pod's user, who has the files by its group, and nobody else."""


def gateway_volumes(config_map: str, routing: RoutingSpec) -> list[Manifest]:
    """Return the volumes that the spec asks for."""
    return [
        {"name": GatewayVolume.CONFIG.value, "configMap": {"name": config_map}},
        {"name": GatewayVolume.RUN.value, "emptyDir": {"medium": "Memory", "sizeLimit": RUN_SIZE}},
        *(
            {"name": volume.value, "secret": {"secretName": secret, "defaultMode": SECRET_MODE, **optional}}
            for volume, secret, optional in _secrets(routing)
        ),
    ]


def mounts(routing: RoutingSpec | None, *wanted: GatewayVolume) -> list[Manifest]:
    """Return the mounts of one container: of `wanted`, those volumes that there are. Only the run directory is written.

    None as `routing`: without Secrets.
    """
    there = {GatewayVolume.CONFIG, GatewayVolume.RUN}
    there |= {volume for volume, _, _ in _secrets(routing)} if routing else set()
    return [
        {
            "name": volume.value,
            "mountPath": DIRECTORIES[volume],
            **({} if volume is GatewayVolume.RUN else {"readOnly": True}),
        }
        for volume in wanted
        if volume in there
    ]


def _secrets(routing: RoutingSpec) -> Iterator[tuple[GatewayVolume, str, Manifest]]:
    """Yield the volumes that are Secrets: volume, name, and whether the pod starts without."""
    if routing.api_keys:
        # Without its keys a gateway refuses every request, and takes them over when they come.
        yield GatewayVolume.KEYS, routing.api_keys.secret_name, {"optional": True}
    if routing.tls:
        yield GatewayVolume.TLS, routing.tls.secret_name, {}
    if routing.content_filter and routing.content_filter.api_key_secret_name:
        yield GatewayVolume.FILTER, routing.content_filter.api_key_secret_name, {}
