"""Everything in the gateway's ConfigMap."""

import re

from gptoss_operator.api.names import gateways_service, replica_service
from gptoss_operator.api.routing import FilterStage, RoutingSpec
from gptoss_operator.api.spec import GptOssSpec, model_names
from gptoss_operator.core.actions import digest_of
from gptoss_operator.core.observation import Owner
from gptoss_operator.core.render.haproxy.errors import ENDINGS, ENDINGS_FILE
from gptoss_operator.core.render.haproxy.long_config import long_config
from gptoss_operator.core.render.haproxy.main_config import RETRIES, main_config
from gptoss_operator.core.render.haproxy.places import IN_POD, Places
from gptoss_operator.core.render.haproxy.script import SCRIPT, SCRIPT_FILE
from gptoss_runtime.gateway_contract import ContentFilter, GatewayOrders, Tier


MODEL_NAME = re.compile(r"[\w./:@+-]+", re.ASCII)
MAIN_FILE = "haproxy.cfg"
LONG_FILE = "long_prompts.cfg"
ORDERS_FILE = "gateway.json"
ENDPOINT_GRACE_SECONDS = 10
"""How long a leaving gateway pod still accepts connections, while the nodes take it out of the Service."""


def gateway_files(
    owner: Owner, spec: GptOssSpec, desired_replicas: int, cluster_domain: str, places: Places = IN_POD
) -> dict[str, str]:
    """Return the ConfigMap's data: HAProxy's two configurations with their script and map, and orders."""
    title = f"{owner.namespace}/{owner.name}"
    # A name that HAProxy's configuration cannot hold is known to the replicas alone.
    models = tuple(name for name in model_names(spec, owner.name) if MODEL_NAME.fullmatch(name))
    return {
        MAIN_FILE: main_config(
            spec.routing,
            title=title,
            models=models,
            records=f"_http._tcp.{replica_service(owner.name)}.{owner.namespace}.svc.{cluster_domain}",
            desired_replicas=desired_replicas,
            max_num_seqs=spec.engine.max_num_seqs,
            drain_seconds=spec.drain_seconds,
            places=places,
        ),
        LONG_FILE: long_config(
            spec.routing,
            title=title,
            models=models,
            drain_seconds=spec.drain_seconds,
            retries=RETRIES,
            places=places,
        ),
        SCRIPT_FILE: SCRIPT,
        ENDINGS_FILE: ENDINGS,
        ORDERS_FILE: _orders(owner, spec, models, cluster_domain).encode(),
    }


def leave_path(owner: Owner) -> str:
    """Return the path of the preStop hook. Pods that may not read the deployment's objects cannot guess it."""
    return f"/leave/{digest_of({'leave': owner.uid})}"


def _orders(owner: Owner, spec: GptOssSpec, models: tuple[str, ...], cluster_domain: str) -> GatewayOrders:
    routing = spec.routing
    peers = f"{gateways_service(owner.name)}.{owner.namespace}.svc.{cluster_domain}"
    keys = routing.api_keys
    return GatewayOrders(
        deployment=owner.name,
        namespace=owner.namespace,
        model_names=models,
        gateways=routing.gateway.replicas,
        peers=peers if routing.gateway.replicas > 1 else "",
        hold_max_requests=routing.hold.max_requests,
        hold_max_wait_seconds=routing.hold.max_wait_seconds,
        heartbeat_seconds=routing.hold.heartbeat_seconds,
        max_body_bytes=routing.limits.max_body_bytes,
        leave_seconds=ENDPOINT_GRACE_SECONDS,
        drain_seconds=spec.drain_seconds,
        leave_path=leave_path(owner),
        has_keys=keys is not None,
        tiers=tuple(Tier(**tier.model_dump(mode="json")) for tier in keys.tiers) if keys else (),
        has_tls=routing.tls is not None,
        cache_bytes=routing.cache.max_megabytes * 2**20 if routing.cache else 0,
        cache_ttl_seconds=routing.cache.ttl_seconds if routing.cache else 0,
        content_filter=_content_filter(routing),
    )


def _content_filter(routing: RoutingSpec) -> ContentFilter | None:
    chosen = routing.content_filter
    if chosen is None:
        return None
    return ContentFilter(
        url=chosen.url,
        model=chosen.model,
        policy=chosen.policy,
        before=chosen.stage is not FilterStage.AFTER,
        after=chosen.stage is not FilterStage.BEFORE,
        refuse_on_failure=chosen.on_failure.value == "Refuse",
        timeout_seconds=chosen.timeout_seconds,
        has_api_key=chosen.api_key_secret_name is not None,
    )
