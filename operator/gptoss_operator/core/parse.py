"""From the raw user's object to typed values. The only place of the core that handles untyped data."""

from typing import Any

from pydantic import ValidationError

from gptoss_operator.api.rules import owned_flag
from gptoss_operator.api.spec import GptOssSpec, GpuSpec
from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.errors import InvalidSpec
from gptoss_runtime.orders import OWNED_FLAGS


SECRET_FIELDS = (("apiKeys", "secretName"), ("tls", "secretName"), ("contentFilter", "apiKeySecretName"))
"""Fields below `spec.routing` that name a Secret."""


def parse_spec(body: dict[str, Any]) -> GptOssSpec:
    """Return the spec of a GptOssDeployment.

    The API server has checked it against the schema already, unless the installed CRD is of another version, or the
    object is older than the schema. An argument that a release has made its own is looked for here too: the replicas
    that run with it go on, whereas new ones would refuse it.
    Raises InvalidSpec.
    """
    try:
        spec = GptOssSpec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in ("spec", *first["loc"]))
        hint = "correct it, or install the CRD that belongs to this operator"
        raise InvalidSpec(f"{field}: {first['msg']}; {hint}") from error
    for argument in spec.engine.extra_args:
        if owned := owned_flag(argument):
            raise InvalidSpec(f"spec.engine.extraArgs: {owned} is the operator's to set: {OWNED_FLAGS[owned]}")
    return spec


def secret_names(body: dict[str, Any]) -> frozenset[str]:
    """Return the Secrets that the gateway uses, whether or not the rest of the spec can be understood."""
    routing = (body.get("spec") or {}).get("routing") or {}
    uses = ((routing.get(name) or {}).get(field) for name, field in SECRET_FIELDS)
    return frozenset(name for name in uses if name)


def gpu_resource(body: dict[str, Any]) -> str:
    """Return the extended resource that replicas ask GPUs of, whether or not the rest of the spec can be understood."""
    gpu = (body.get("spec") or {}).get("gpu") or {}
    return gpu.get("resource") or GpuSpec().resource


def parse_status(body: dict[str, Any]) -> GptOssStatus:
    """Return the status that is there. One that another version wrote and that cannot be read counts as empty."""
    try:
        return GptOssStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return GptOssStatus()
