"""Environment variables that vLLM does not know, which it would ignore or end for. Pure."""

from collections.abc import Iterable
from types import MappingProxyType


PREFIX = "VLLM_"
_EXPERTS = "set spec.engine.moeBackend"
_ATTENTION = "give --attention-backend in spec.engine.extraArgs"

REMEDIES = MappingProxyType(
    {
        "VLLM_MXFP4_USE_MARLIN": "set spec.engine.moeBackend to marlin",
        "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8": "set spec.engine.mxfp8Activations",
        "VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8_CUTLASS": (
            "set spec.engine.mxfp8Activations, and spec.engine.moeBackend to flashinfer_cutlass"
        ),
        "VLLM_USE_FLASHINFER_MXFP4_MOE": _EXPERTS,
        "VLLM_USE_FLASHINFER_MXFP4_BF16_MOE": _EXPERTS,
        "VLLM_USE_FLASHINFER_MOE_MXFP4_BF16": _EXPERTS,
        "VLLM_FLASHINFER_MOE_BACKEND": _EXPERTS,
        "VLLM_ATTENTION_BACKEND": _ATTENTION,
        "VLLM_USE_TRTLLM_ATTENTION": _ATTENTION,
        "VLLM_USE_AITER_UNIFIED_ATTENTION": _ATTENTION,
        "VLLM_FLASH_ATTN_VERSION": "give --attention-config.flash_attn_version in spec.engine.extraArgs",
        "VLLM_USE_V1": "leave it out: there is no other engine any more",
    }
)
"""What recipes for older versions of vLLM set, and what does the same now."""


NOT_THE_USERS = MappingProxyType({"VLLM_API_KEY": "keys belong to the gateway, see spec.routing.apiKeys"})
"""What vLLM knows, and nobody may set: the server itself asks vLLM, without a key."""


def refuse_variables(names: Iterable[str], known: frozenset[str] | None) -> tuple[str, ...]:
    """Return one sentence for each variable that may not be set, or that this vLLM does not know.

    `known` are those that it knows; None where nothing says which.
    """
    ours = sorted(NOT_THE_USERS.keys() & set(names))
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in (known or ()))
    return (
        *(f"{name} is not yours to set: remove it from spec.pod.env; {NOT_THE_USERS[name]}" for name in ours),
        *(f"this vLLM knows no environment variable {name}: {remedy_for(name)}" for name in unknown if known),
    )


def remedy_for(name: str) -> str:
    """Return what to do about a variable that vLLM does not know."""
    where = "remove it from spec.pod.env, or from the image"
    return f"{where}, and {REMEDIES[name]}" if name in REMEDIES else where
