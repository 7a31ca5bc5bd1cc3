"""The checkpoint's `config.json` and `generation_config.json`, which say what gpt-oss' own say, with smaller sizes."""

from typing import Any

from e2e.model.weights import VOCABULARY, Size


START_OF_TEXT, END_OF_TEXT, RETURN, CALL = 199_998, 199_999, 200_002, 200_012


def model_config(size: Size) -> dict[str, Any]:
    """Return the content of `config.json`."""
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "attention_bias": True,
        "attention_dropout": 0.0,
        "dtype": "bfloat16",
        "eos_token_id": RETURN,
        "pad_token_id": END_OF_TEXT,
        "experts_per_token": 2,
        "num_experts_per_tok": 2,
        "head_dim": size.head_dimension,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "initial_context_length": 4096,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "layer_types": ["full_attention" if layer % 2 else "sliding_attention" for layer in range(size.layers)],
        "max_position_embeddings": 131_072,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.key_value_heads,
        "num_local_experts": size.experts,
        "output_router_logits": False,
        "rms_norm_eps": 1e-05,
        "rope_theta": 150_000,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "router_aux_loss_coef": 0.9,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        # Without it the tokenizer's loader suspects an old file of another family, and warns.
        "transformers_version": "5.0.0",
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def generation_config() -> dict[str, Any]:
    """Return the content of `generation_config.json`."""
    return {
        "bos_token_id": START_OF_TEXT,
        "do_sample": True,
        "eos_token_id": [RETURN, END_OF_TEXT, CALL],
        "pad_token_id": END_OF_TEXT,
    }
