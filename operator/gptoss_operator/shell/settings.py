"""The operator's own settings, from its arguments; each has an environment variable as its default."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from gptoss_operator.api.model import ModelName
from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.errors import SettingsError
from gptoss_operator.shell.prices import read_prices


ENVIRONMENT_PREFIX: Final = "GPTOSS_"
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("plain", "json")
SCRAPE_MAX_SECONDS: Final = 15.0
"""Half of the time within which two documents must follow each other, so that one may be missed."""
ALL_ADDRESSES: Final = "0.0.0.0"  # noqa: S104  (the kubelet and Prometheus ask from outside the pod)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one operator process works."""

    server_image: str
    """Image of the model server for objects that name none."""
    gateway_image: str
    """Image of the gateway for objects that name none."""
    activator_image: str
    """Image of the gateway's sidecar for objects that name none."""
    model_revisions: Mapping[str, str] = field(default_factory=dict)
    """Commit or branch of each model's own repository, for objects that name no source, by the model's name."""
    image_pull_policy: str = "IfNotPresent"
    """Always, IfNotPresent or Never; for all of them."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to serve. Empty: all."""
    http_host: str = ALL_ADDRESSES
    """Address that /healthz, /readyz and /metrics listen on."""
    http_port: int = 8080
    """Their port."""
    resync_seconds: float = 300.0
    """How often every object gets a pass, whatever the watches say."""
    scrape_seconds: float = 5.0
    """How often every replica is asked for its state. Zero: never."""
    prices: tuple[PriceSpec, ...] = ()
    """What GPUs cost, for objects that have no price of their own for a place."""
    lease_namespace: str = ""
    """Namespace of the Lease whose holder works, of several operators with the same one. Empty with `lease_name`."""
    lease_name: str = ""
    """Its name. Empty: this process works whoever else does."""
    log_level: str = "info"
    log_format: str = "plain"

    @property
    def render_options(self) -> RenderOptions:
        """What of this shows in manifests."""
        return RenderOptions(
            server_image=self.server_image,
            gateway_image=self.gateway_image,
            activator_image=self.activator_image,
            model_revisions=self.model_revisions,
            image_pull_policy=self.image_pull_policy,
            cluster_domain=self.cluster_domain,
            prices=self.prices,
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings. Raises SettingsError, naming the setting."""

    def default(name: str, otherwise: str) -> str:
        return environment.get(ENVIRONMENT_PREFIX + name, "") or otherwise

    parser = _Parser(
        prog="gptoss-operator",
        description="Runs GptOssDeployments.",
        epilog=f"Each option's default may be set as {ENVIRONMENT_PREFIX}OPTION, such as GPTOSS_SERVER_IMAGE.",
    )
    add = parser.add_argument
    add("--server-image", default=default("SERVER_IMAGE", ""), help="image of the model server (required)")
    add("--gateway-image", default=default("GATEWAY_IMAGE", ""), help="image of the gateway (required)")
    add("--activator-image", default=default("ACTIVATOR_IMAGE", ""), help="image of the gateway's sidecar (required)")
    add(
        "--model-revisions",
        default=default("MODEL_REVISIONS", ""),
        help="commits of the models' own repositories, such as gpt-oss-20b=COMMIT, with commas between",
    )
    add("--image-pull-policy", default=default("IMAGE_PULL_POLICY", "IfNotPresent"), help=" | ".join(PULL_POLICIES))
    add("--cluster-domain", default=default("CLUSTER_DOMAIN", "cluster.local"), help="DNS domain of the cluster")
    add("--namespaces", default=default("NAMESPACES", ""), help="namespaces to serve, with commas between; all if none")
    add("--http-host", default=default("HTTP_HOST", ALL_ADDRESSES), help="address of the HTTP server")
    add("--http-port", default=default("HTTP_PORT", "8080"), help="port of /healthz, /readyz and /metrics")
    add("--resync-seconds", default=default("RESYNC_SECONDS", "300"), help="time between full passes")
    add("--scrape-seconds", default=default("SCRAPE_SECONDS", "5"), help="time between questions to a replica; 0: none")
    add("--prices", default=default("PRICES", ""), help="YAML file of prices, as in spec.prices, for all objects")
    add("--lease-namespace", default=default("LEASE_NAMESPACE", ""), help="namespace of the Lease")
    add(
        "--lease-name", default=default("LEASE_NAME", ""), help="Lease whose holder works, of several; none: do not ask"
    )
    add("--log-level", default=default("LOG_LEVEL", "info"), help=" | ".join(LOG_LEVELS))
    add("--log-format", default=default("LOG_FORMAT", "plain"), help=" | ".join(LOG_FORMATS))
    given = parser.parse_args(arguments)
    if given.lease_name:
        _required("--lease-namespace", given.lease_namespace)
    return Settings(
        server_image=_required("--server-image", given.server_image),
        gateway_image=_required("--gateway-image", given.gateway_image),
        activator_image=_required("--activator-image", given.activator_image),
        model_revisions=_pairs("--model-revisions", given.model_revisions, tuple(ModelName)),
        image_pull_policy=_one_of("--image-pull-policy", given.image_pull_policy, PULL_POLICIES),
        cluster_domain=given.cluster_domain,
        namespaces=tuple(name.strip() for name in given.namespaces.split(",") if name.strip()),
        http_host=given.http_host,
        http_port=int(_number("--http-port", given.http_port, 0, 65535)),
        resync_seconds=_number("--resync-seconds", given.resync_seconds, 1, 86400),
        scrape_seconds=_number("--scrape-seconds", given.scrape_seconds, 0, SCRAPE_MAX_SECONDS),
        prices=read_prices(given.prices),
        lease_namespace=given.lease_namespace,
        lease_name=given.lease_name,
        log_level=_one_of("--log-level", given.log_level, LOG_LEVELS),
        log_format=_one_of("--log-format", given.log_format, LOG_FORMATS),
    )


def _required(option: str, value: str) -> str:
    if not value:
        variable = ENVIRONMENT_PREFIX + option.removeprefix("--").replace("-", "_").upper()
        raise SettingsError(f"{option} is missing: give it, or set {variable}")
    return value


def _one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise SettingsError(f"{option} is {value!r}: it must be one of {', '.join(allowed)}")
    return value


def _pairs(option: str, value: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return what is assigned to each name."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    split = [part.partition("=") for part in parts]
    found = {name: revision for name, _, revision in split}
    if len(found) != len(parts) or not found.keys() <= set(names) or not all(found.values()):
        raise SettingsError(f"{option} is {value!r}: it must be NAME=REVISION,..., with names of {', '.join(names)}")
    return found


def _number(option: str, value: str, least: float, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise SettingsError(f"{option} is {value!r}: it must be a number from {least:g} to {most:g}")
    return number
