"""The sizes of gpt-oss: the two models as OpenAI published them, and any other of the same kind by its config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final


BF16_BYTES: Final = 2
MXFP4_ELEMENTS: Final = 32
"""Elements that share one 8-bit scale."""
MXFP4_BLOCK_BYTES: Final = 17
"""Bytes of 32 elements: 16 of 4-bit values and one scale."""

_MODEL_TYPE: Final = "gpt_oss"
_ARCHITECTURE: Final = "GptOssForCausalLM"
_DTYPES: Final = ("bfloat16", "float16", "float32")
"""What a checkpoint may be in. vLLM computes and keeps keys and values in two bytes for each of them."""


class UnknownModel(ValueError):
    """A config.json is not one of gpt-oss, or lacks a field; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What the memory of a gpt-oss model follows from. All layers are alike."""

    name: str
    layers: int
    experts: int
    """Experts of each layer."""
    experts_per_token: int
    hidden: int
    intermediate: int
    """Width of one expert."""
    heads: int
    """Query heads."""
    kv_heads: int
    head_dim: int
    vocab: int
    """Words; the tables for input and output are separate."""
    sliding_window: int | None
    """Tokens that every second layer looks back, beginning with the first. None: all layers look at everything."""
    max_context: int
    """Longest prompt and answer together that the model was made for, in tokens."""
    mxfp4_experts: bool
    """Experts in 4.25 bits for each weight, otherwise in 16."""


GPT_OSS_120B: Final = ModelShape(
    name="gpt-oss-120b",
    layers=36,
    experts=128,
    experts_per_token=4,
    hidden=2880,
    intermediate=2880,
    heads=64,
    kv_heads=8,
    head_dim=64,
    vocab=201088,
    sliding_window=128,
    max_context=131072,
    mxfp4_experts=True,
)
GPT_OSS_20B: Final = replace(GPT_OSS_120B, name="gpt-oss-20b", layers=24, experts=32)
SHAPES: Final[Mapping[str, ModelShape]] = MappingProxyType({s.name: s for s in (GPT_OSS_120B, GPT_OSS_20B)})
"""The known models, by the name that users write."""


def expert_bytes(shape: ModelShape, elements: int) -> int:
    """Return the bytes of `elements` weights of experts."""
    if shape.mxfp4_experts:
        return -(-elements // MXFP4_ELEMENTS) * MXFP4_BLOCK_BYTES
    return elements * BF16_BYTES


def checkpoint_bytes(shape: ModelShape) -> int:
    """Return the bytes of all tensors of the checkpoint. The files are a few kB larger."""
    weights = expert_bytes(shape, shape.experts * 3 * shape.hidden * shape.intermediate)
    biases = shape.experts * (2 * shape.intermediate + shape.hidden)
    router = shape.experts * (shape.hidden + 1)
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = shape.hidden * (2 * queries + 2 * keys) + queries + 2 * keys + shape.hidden + shape.heads
    norms = 2 * shape.hidden
    layer = weights + (biases + router + attention + norms) * BF16_BYTES
    tables = (2 * shape.vocab * shape.hidden + shape.hidden) * BF16_BYTES
    return shape.layers * layer + tables


def shape_of_config(config: Mapping[str, object], *, name: str = "the model") -> ModelShape:
    """Return the shape that a config.json describes. Raises UnknownModel with the name of the field that is wrong."""
    architectures = config.get("architectures")
    if config.get("model_type") != _MODEL_TYPE and architectures != [_ARCHITECTURE]:
        raise UnknownModel(f"config.json: model_type {config.get('model_type')!r} is not {_MODEL_TYPE}")
    dtype = config.get("dtype", config.get("torch_dtype", _DTYPES[0]))
    if dtype not in _DTYPES:
        raise UnknownModel(f"config.json: dtype {dtype!r} is not one of {', '.join(_DTYPES)}")
    per_token = "num_experts_per_tok" if "num_experts_per_tok" in config else "experts_per_token"
    shape = ModelShape(
        name=name,
        layers=_number(config, "num_hidden_layers"),
        experts=_number(config, "num_local_experts"),
        experts_per_token=_number(config, per_token),
        hidden=_number(config, "hidden_size"),
        intermediate=_number(config, "intermediate_size"),
        heads=_number(config, "num_attention_heads"),
        kv_heads=_number(config, "num_key_value_heads"),
        head_dim=_number(config, "head_dim"),
        vocab=_number(config, "vocab_size"),
        sliding_window=None if config.get("sliding_window", 0) is None else _number(config, "sliding_window"),
        max_context=_number(config, "max_position_embeddings"),
        mxfp4_experts=_has_mxfp4_experts(config),
    )
    known = (s for s in SHAPES.values() if _sizes(s) == _sizes(shape))
    return next(known, shape)


def _number(config: Mapping[str, object], field: str) -> int:
    value = config.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UnknownModel(f"config.json: {field} is {value!r}; a whole number above 0 is needed")
    return value


def _has_mxfp4_experts(config: Mapping[str, object]) -> bool:
    quantization = config.get("quantization_config")
    if quantization is None:
        return False
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    if method not in {"mxfp4", "gpt_oss_mxfp4"}:
        raise UnknownModel(f"config.json: quantization_config.quant_method {method!r} is not mxfp4, so it has no plan")
    return True


def _sizes(shape: ModelShape) -> tuple[int | bool | None, ...]:
    """Return all that memory follows from, so that a fine-tune of a known model carries its name."""
    return (
        shape.layers,
        shape.experts,
        shape.experts_per_token,
        shape.hidden,
        shape.intermediate,
        shape.heads,
        shape.kv_heads,
        shape.head_dim,
        shape.vocab,
        shape.sliding_window,
        shape.max_context,
        shape.mxfp4_experts,
    )
