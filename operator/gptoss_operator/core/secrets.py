"""What the gateway's Secrets ask for: gateways that look again when keys change, and words when a Secret is not there.

Only versions are known here, never contents.
"""

from collections.abc import Iterable

from gptoss_operator.api.names import ANNOTATION_KEYS
from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.api.status import Reason
from gptoss_operator.core.actions import Annotate
from gptoss_operator.core.observation import Observation, Problem


def tell_of_keys(routing: RoutingSpec, seen: Observation) -> Iterable[Annotate]:
    """Yield an annotation for each gateway pod that was not told of the newest version of the API keys.

    The kubelet looks at a mounted Secret about once a minute, and at once when something about its pod changes.
    """
    version = (seen.secrets or {}).get(routing.api_keys.secret_name) if routing.api_keys else None
    if version is None:
        return
    for pod in seen.gateway_pods:
        meta = pod.metadata
        if meta.deletion_timestamp is None and meta.annotations.keys_version != version:
            yield Annotate(
                pod=meta.name,
                uid=meta.uid,
                annotation=ANNOTATION_KEYS,
                value=version,
                reason="the kubelet is to bring it the newest API keys at once",
            )


def missing_secrets(routing: RoutingSpec, seen: Observation) -> Iterable[Problem]:
    """Yield a problem for each Secret that the spec names and that is not there, as far as Secrets may be read."""
    if seen.secrets is None:
        return
    for name, remedy in _uses(routing):
        if name not in seen.secrets:
            message = f"Secret {name} does not exist: {remedy}"
            yield Problem(reason=Reason.SECRET_NOT_FOUND, message=message)


def _uses(routing: RoutingSpec) -> Iterable[tuple[str, str]]:
    """Yield the Secrets that the spec names, each with what to do and what is amiss until then."""
    if routing.api_keys:
        yield (
            routing.api_keys.secret_name,
            "create it with the API keys of each tenant (spec.routing.apiKeys); until then every request is refused",
        )
    if routing.tls:
        yield (
            routing.tls.secret_name,
            "create it with tls.crt and tls.key (spec.routing.tls); new gateway pods cannot start without it",
        )
    if routing.content_filter and routing.content_filter.api_key_secret_name:
        yield (
            routing.content_filter.api_key_secret_name,
            "create it with the entry api-key (spec.routing.contentFilter); new gateway pods cannot start without it",
        )
