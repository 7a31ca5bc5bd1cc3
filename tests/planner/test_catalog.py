from typing import Any

import pytest

from gptoss_runtime.model.catalog import (
    GPT_OSS_20B,
    GPT_OSS_120B,
    UnknownModel,
    checkpoint_bytes,
    shape_of_config,
)


def a_config(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - raw JSON
    """Return the config.json of gpt-oss-20b, as far as it is read."""
    config = {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "head_dim": 64,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "max_position_embeddings": 131072,
        "num_attention_heads": 64,
        "num_experts_per_tok": 4,
        "num_hidden_layers": 24,
        "num_key_value_heads": 8,
        "num_local_experts": 32,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
        "sliding_window": 128,
        "vocab_size": 201088,
    }
    return {**config, **changes}


def test_checkpoints_have_the_size_of_the_published_files() -> None:
    assert checkpoint_bytes(GPT_OSS_120B) == 65_248_815_744
    assert checkpoint_bytes(GPT_OSS_20B) == 13_761_264_768


def test_reads_the_shape_of_a_config() -> None:
    assert shape_of_config(a_config(), name="weights") == GPT_OSS_20B
    assert shape_of_config(a_config(num_hidden_layers=36, num_local_experts=128)) == GPT_OSS_120B


def test_a_fine_tune_in_bf16_is_another_shape() -> None:
    config = a_config(dtype="bfloat16", vocab_size=201090)
    del config["quantization_config"]
    shape = shape_of_config(config, name="mine")
    assert (shape.name, shape.mxfp4_experts, shape.vocab) == ("mine", False, 201090)
    assert checkpoint_bytes(shape) > 3 * checkpoint_bytes(GPT_OSS_20B)


def test_a_model_may_have_no_sliding_window() -> None:
    assert shape_of_config(a_config(sliding_window=None)).sliding_window is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "model_type 'llama' is not gpt_oss"),
        ({"num_local_experts": None}, "num_local_experts is None"),
        ({"head_dim": "64"}, "head_dim is '64'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"sliding_window": -1}, "sliding_window is -1"),
        ({"quantization_config": {"quant_method": "awq"}}, "quant_method 'awq' is not mxfp4"),
        ({"quantization_config": "mxfp4"}, "quant_method None is not mxfp4"),
        ({"dtype": "int8"}, "dtype 'int8' is not one of"),
        ({"torch_dtype": "int8"}, "dtype 'int8' is not one of"),
    ],
)
def test_says_which_field_is_wrong(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownModel, match=said):
        shape_of_config(a_config(**changes))


@pytest.mark.parametrize("field", ["sliding_window", "num_experts_per_tok", "vocab_size"])
def test_says_which_field_is_missing(field: str) -> None:
    config = a_config()
    del config[field]
    said = "experts_per_token" if field == "num_experts_per_tok" else field
    with pytest.raises(UnknownModel, match=f"{said} is None"):
        shape_of_config(config)
