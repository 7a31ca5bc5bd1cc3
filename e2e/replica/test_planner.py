"""The memory plan beside what real vLLM makes of the same orders: the same to the block."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.shown import shown
from e2e.vllm.inside import ask_inside
from e2e.vllm.replica import an_order, planned
from e2e.vllm.room import Room
from gptoss_runtime.engine_options import EngineOptions, KvCacheDtype, PerformanceMode
from gptoss_runtime.model.catalog import shape_of_config
from gptoss_runtime.model.memory import plan_cpu
from gptoss_runtime.model.wishes import wish_of
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.args import CPU_KV_CACHE_GIB


ENGINES_SECONDS = 400.0
"""Twenty seconds for loading vLLM's code, then some seconds for each engine."""
ORDERS = {
    "short": an_order(max_model_len=2048, max_num_seqs=4, engine=EngineOptions(max_num_batched_tokens=512)),
    "usual": an_order(max_model_len=4096, max_num_seqs=32),
    "odd": an_order(max_model_len=1000, max_num_seqs=1),
    "whole context": an_order(max_model_len=None, max_num_seqs=16, extra_args=("--block-size", "64")),
    "fp8": an_order(
        max_model_len=8192,
        max_num_seqs=2,
        engine=EngineOptions(kv_cache_dtype=KvCacheDtype.FP8),
        extra_args=("--block-size=32",),
    ),
    "throughput": an_order(
        max_model_len=65536, max_num_seqs=256, engine=EngineOptions(performance_mode=PerformanceMode.THROUGHPUT)
    ),
    "two processes": an_order(tensor_parallel_size=2, max_model_len=16384, max_num_seqs=16),
}


@dataclass(frozen=True, slots=True)
class Made:
    """What vLLM logs as blocks, cache size and concurrency."""

    blocks: int
    tokens: int
    concurrency: float


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, room: Room) -> dict[str, Made]:
    """What vLLM made of all orders, one after the other."""
    lines = [planned(room, orders, 8000).arguments for orders in ORDERS.values()]
    with shown(request):
        answers: list[dict[str, Any]] = ask_inside(
            room,
            "memory_program.py",
            lines,
            seconds=ENGINES_SECONDS,
            VLLM_CPU_KVCACHE_SPACE=str(CPU_KV_CACHE_GIB),
            VLLM_ENABLE_V1_MULTIPROCESSING="0",
        )
    return {name: Made(**answer) for name, answer in zip(ORDERS, answers, strict=True)}


@pytest.mark.parametrize("name", ORDERS)
def test_vllm_makes_what_the_planner_foresaw(name: str, room: Room, made: dict[str, Made]) -> None:
    assert made[name] == foreseen(room, ORDERS[name])


def foreseen(room: Room, orders: ServerOrders) -> Made:
    config = json.loads((room.model / "config.json").read_text())
    plan = plan_cpu(shape_of_config(config, name="tiny"), CPU_KV_CACHE_GIB * 2**30, wish_of(orders))
    return Made(plan.blocks, plan.tokens, plan.concurrency)
