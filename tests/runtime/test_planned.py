"""What a server foresees of its memory before vLLM starts."""

from dataclasses import replace
from typing import Any

import pytest

from gptoss_runtime.engine_options import (
    EngineOptions,
    KvCacheDtype,
    MoeBackend,
    PerformanceMode,
    Speculation,
    SpeculativeMethod,
)
from gptoss_runtime.model.gpus import GIB, MIB, GpuFacts
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.planned import PlannedReplica, compare, plan_replica


TINY = {
    "model_type": "gpt_oss",
    "head_dim": 32,
    "hidden_size": 64,
    "intermediate_size": 64,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "sliding_window": 128,
    "vocab_size": 201088,
}
H100 = GpuFacts(name="NVIDIA H100 80GB HBM3", memory_bytes=81559 * MIB, capability=(9, 0))
L4 = GpuFacts(name="NVIDIA L4", memory_bytes=23034 * MIB, capability=(8, 9))
T4 = GpuFacts(name="Tesla T4", memory_bytes=15360 * MIB, capability=(7, 5))


def an_order(**changes: Any) -> ServerOrders:  # noqa: ANN401 - fields of the orders
    wanted = {"model": "/models/gpt-oss-20b", "served_names": ("openai/gpt-oss-20b",), "max_num_seqs": 128}
    return ServerOrders(**{**wanted, **changes})


def test_foresees_what_vllm_logs_on_a_cpu() -> None:
    # vLLM logged 992.97 requests of 2048 tokens.
    planned = plan_replica(an_order(max_model_len=2048), TINY, (), cpu_kv_bytes=GIB)
    assert planned == PlannedReplica(kv_tokens=2033601, weights_bytes=0, refusal=None)


def test_reads_a_block_size_among_further_arguments() -> None:
    orders = an_order(max_model_len=2048, max_num_seqs=1)
    for arguments in (("--block-size=64",), ("--block-size", "64"), ("--block-size=32", "--block-size", "64")):
        planned = plan_replica(replace(orders, extra_args=arguments), TINY, (), cpu_kv_bytes=GIB)
        # 65536 blocks; 32 of the full layer, 33 of the sliding one.
        assert planned is not None
        assert planned.kv_tokens == int(65536 / 65 * 2048)


def test_a_cpu_whose_memory_is_given_by_the_engine_options() -> None:
    orders = an_order(max_model_len=2048, engine=EngineOptions(kv_cache_memory_bytes=GIB))
    planned = plan_replica(orders, TINY, ())
    assert planned is not None
    assert planned.kv_tokens == 2033601


@pytest.mark.parametrize(
    ("orders", "config", "gpus", "cpu_kv_bytes"),
    [
        (an_order(), TINY, (), None),
        (an_order(), {**TINY, "model_type": "llama"}, (H100,), None),
        (an_order(model="/models/mine"), None, (H100,), None),
        (an_order(engine=EngineOptions(quantization="fp8")), None, (H100,), None),
        (an_order(tensor_parallel_size=4), TINY, (H100,) * 4, None),
        (an_order(), None, (T4,), None),
    ],
)
def test_has_no_plan_where_too_little_is_known_or_vllm_says_it_itself(
    orders: ServerOrders, config: dict[str, object] | None, gpus: tuple[GpuFacts, ...], cpu_kv_bytes: int | None
) -> None:
    assert plan_replica(orders, config, gpus, cpu_kv_bytes=cpu_kv_bytes) is None


def test_knows_models_by_the_name_of_their_repository() -> None:
    planned = plan_replica(an_order(model="openai/gpt-oss-20b"), None, (H100,))
    assert planned is not None
    assert planned.weights_bytes / GIB == pytest.approx(13.41, abs=0.01)
    assert planned.kv_tokens > 2_000_000
    assert planned.refusal is None


def test_reads_options_from_a_document_as_from_values() -> None:
    engine = EngineOptions(
        kv_cache_dtype=KvCacheDtype.FP8,
        moe_backend=MoeBackend.MARLIN,
        performance_mode=PerformanceMode.THROUGHPUT,
        speculation=Speculation(method=SpeculativeMethod.EAGLE3, model="a/draft", tokens=3),
    )
    orders = an_order(engine=engine)
    plan = plan_replica(orders, None, (H100,))
    assert plan_replica(ServerOrders.decode(orders.encode()), None, (H100,)) == plan
    assert plan != plan_replica(an_order(), None, (H100,))


def test_the_gpu_with_the_least_memory_decides() -> None:
    orders = an_order(tensor_parallel_size=2)
    assert plan_replica(orders, None, (H100, L4)) == plan_replica(orders, None, (L4, L4))


def test_refuses_only_weights_that_have_no_room() -> None:
    big = an_order(model="openai/gpt-oss-120b", max_model_len=4096)
    planned = plan_replica(big, None, (L4,))
    assert planned is not None
    assert planned.refusal == (
        "gpt-oss-120b needs 65.9 GiB on one L4, of which vLLM may take 20.1 GiB: "
        "raise spec.tensorParallel, or take GPUs with more memory"
    )
    assert planned.kv_tokens == 0
    # Nothing is left beside the weights, as far as it can be estimated: vLLM decides.
    tight = plan_replica(replace(big, gpu_memory_utilization=0.85), None, (H100,))
    assert tight is not None
    assert (tight.kv_tokens, tight.refusal) == (0, None)


def test_weights_that_are_kept_elsewhere_need_no_room() -> None:
    offloaded = an_order(model="openai/gpt-oss-120b", extra_args=("--cpu-offload-gb", "60"))
    planned = plan_replica(offloaded, None, (L4,))
    assert planned is not None
    assert planned.refusal is None


def test_compares_the_plan_with_what_vllm_found() -> None:
    planned = PlannedReplica(kv_tokens=200_000, weights_bytes=0, refusal=None)
    comparison = compare(planned, 190_000)
    assert comparison.ratio == pytest.approx(0.95)
    assert comparison.reason == "the key-value cache holds 190000 tokens, 95% of the 200000 that were planned"
    none = compare(replace(planned, kv_tokens=0), 5)
    assert (none.ratio, none.reason) == (None, "the key-value cache holds 5 tokens; the plan foresaw none")
