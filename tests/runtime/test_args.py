from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.engine_options import EngineOptions, LoadStrategy, Speculation, SpeculativeMethod
from gptoss_runtime.orders import OWNED_FLAGS, ServerOrders, WeightsOrder
from gptoss_runtime.server.args import (
    BadOrdersError,
    Command,
    ModelDirectory,
    PodFacts,
    bind_cpus,
    check_orders,
    plan_command,
    refuse,
)
from gptoss_runtime.server.values import TENSOR_PARALLEL_SIZES
from tests.runtime.harness import an_order


GOOD = ModelDirectory(exists=True, has_config=True)
DIRECTORY = an_order("/models/x")
EAGLE = Speculation(method=SpeculativeMethod.EAGLE3, model="/draft", tokens=3)


def facts(directory: ModelDirectory | None = GOOD, device: str = "", cpus: int = 8, **environment: str) -> PodFacts:
    return PodFacts(model_directory=directory, device=device, allowed_cpus=tuple(range(cpus)), environment=environment)


def value_of(command: Command, flag: str) -> str:
    return command.arguments[command.arguments.index(flag) + 1]


def test_plans_a_directory_on_a_gpu() -> None:
    command = plan_command(DIRECTORY, facts(PATH="/bin"))
    assert command.arguments == (
        "/models/x",
        *("--host", "0.0.0.0"),
        *("--port", "8000"),
        *("--served-model-name", "openai/gpt-oss-20b"),
        *("--tensor-parallel-size", "1"),
        *("--max-num-seqs", "4"),
        *("--shutdown-timeout", "10"),
        *("--middleware", "gptoss_runtime.server.middleware.Middleware"),
        "--enable-server-load-tracking",
        "--disable-access-log-for-endpoints",
        "/health,/metrics,/load,/ping,/gptoss/in_flight,/gptoss/tokens,/gptoss/numbers",
        "--fail-on-environ-validation",
        "--enable-auto-tool-choice",
        *("--tool-call-parser", "openai"),
    )
    assert command.environment == {
        "PATH": "/bin",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": "3600",
        "VLLM_ENABLE_STARTUP_PLAN": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "0",
    }


def test_plans_a_repository_at_a_revision_online() -> None:
    command = plan_command(replace(an_order("openai/gpt-oss-20b"), revision="abc"), facts(None))
    assert command.arguments[0] == "openai/gpt-oss-20b"
    assert value_of(command, "--revision") == "abc"
    assert "HF_HUB_OFFLINE" not in command.environment


def test_passes_sizes_and_extra_arguments_on() -> None:
    orders = replace(DIRECTORY, max_model_len=4096, gpu_memory_utilization=0.9, extra_args=("--block-size", "64"))
    command = plan_command(orders, facts())
    assert value_of(command, "--max-model-len") == "4096"
    assert value_of(command, "--gpu-memory-utilization") == "0.9"
    assert command.arguments[-2:] == ("--block-size", "64")


def test_a_cpu_machine_gets_a_group_of_cores_for_each_rank_and_a_small_cache() -> None:
    command = plan_command(replace(DIRECTORY, tensor_parallel_size=2), facts(device="cpu", cpus=4))
    assert command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0,1|2,3"
    assert command.environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "--enforce-eager" in command.arguments


def test_the_users_environment_wins_except_where_the_server_depends_on_it() -> None:
    command = plan_command(
        DIRECTORY, facts(device="cpu", VLLM_CPU_KVCACHE_SPACE="7", VLLM_KEEP_ALIVE_ON_ENGINE_DEATH="1")
    )
    assert command.environment["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert command.environment["VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"] == "0"


def test_a_cpu_machine_keeps_the_key_value_cache_that_was_asked_for() -> None:
    orders = replace(DIRECTORY, engine=EngineOptions(kv_cache_memory_bytes=2**30, pipeline_parallel_size=2))
    command = plan_command(orders, facts(device="cpu", cpus=4))
    assert value_of(command, "--kv-cache-memory-bytes") == "1073741824"
    assert "VLLM_CPU_KVCACHE_SPACE" not in command.environment
    assert command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0,1|2,3"


@pytest.mark.parametrize(("draft", "online"), [("me/draft", True), ("/models/draft", False)])
def test_a_draft_model_from_the_hub_needs_the_network(draft: str, *, online: bool) -> None:
    speculation = Speculation(method=SpeculativeMethod.EAGLE3, model=draft, tokens=3)
    command = plan_command(replace(DIRECTORY, engine=EngineOptions(speculation=speculation)), facts())
    assert ("HF_HUB_OFFLINE" not in command.environment) is online


def test_weights_that_are_still_to_be_fetched_are_not_missed_before() -> None:
    missing = facts(ModelDirectory(exists=False, has_config=False))
    weights = WeightsOrder(source="hf://openai/gpt-oss-20b", directory="/models/x")
    check_orders(replace(DIRECTORY, weights=weights), missing)
    with pytest.raises(BadOrdersError, match="no directory /models/x"):
        plan_command(replace(DIRECTORY, weights=weights), missing)
    with pytest.raises(BadOrdersError, match="no directory /models/x"):
        check_orders(DIRECTORY, missing)


def test_all_variables_that_vllm_does_not_know_are_refused_with_what_does_the_same_now() -> None:
    names = {"VLLM_MXFP4_USE_MARLIN": "1", "VLLM_NO_SUCH": "1", "VLLM_LOGGING_LEVEL": "DEBUG", "PATH": "/bin"}
    pod = replace(facts(), environment=names)
    plan_command(DIRECTORY, pod)
    refusals = refuse(DIRECTORY, replace(pod, known_variables=frozenset({"VLLM_LOGGING_LEVEL"})))
    assert [words.rpartition(":")[0].rpartition(" ")[2] for words in refusals] == [
        "VLLM_MXFP4_USE_MARLIN",
        "VLLM_NO_SUCH",
    ]
    assert "set spec.engine.moeBackend to marlin" in refusals[0]


def test_vllm_gets_no_key_of_its_own() -> None:
    (refusal,) = refuse(DIRECTORY, facts(VLLM_API_KEY="secret"))
    assert "spec.routing.apiKeys" in refusal
    assert "secret" not in refusal


def test_compiled_code_goes_where_a_later_start_finds_it() -> None:
    pod = replace(facts(), vllm_version="0.32.0", gpu_names=("NVIDIA H100",), compile_cache_writable=True)
    orders = replace(DIRECTORY, compile_cache="/cache/compile")
    command = plan_command(orders, pod)
    root = command.environment["VLLM_CACHE_ROOT"]
    assert root.startswith("/cache/compile/0.32.0-NVIDIA-H100-tp1-pp1-")
    assert command.environment["TRITON_CACHE_DIR"] == root.removesuffix("vllm") + "triton"
    assert root.removesuffix("/vllm") in command.notes[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compile_cache_writable": False}, "cannot be written to"),
        ({"gpu_names": ()}, "GPU is unknown"),
        ({"vllm_version": ""}, "vLLM's version is unknown"),
    ],
)
def test_a_cache_that_cannot_be_shared_is_not(changes: dict[str, Any], words: str) -> None:
    pod = replace(
        facts(VLLM_CACHE_ROOT="/tmp/vllm"),  # noqa: S108 - a name only
        **{"vllm_version": "0.32.0", "gpu_names": ("H100",), "compile_cache_writable": True, **changes},
    )
    command = plan_command(replace(DIRECTORY, compile_cache="/cache/compile"), pod)
    assert command.environment["VLLM_CACHE_ROOT"] == "/tmp/vllm"  # noqa: S108 - a name only
    assert words in command.notes[0]


def test_each_engine_has_a_cache_of_its_own_and_an_address_changes_nothing() -> None:
    pod = replace(facts(), vllm_version="0.32.0", gpu_names=("H100",), compile_cache_writable=True)
    orders = replace(DIRECTORY, compile_cache="/cache/compile")

    def root(changed: ServerOrders, on: PodFacts = pod) -> str:
        return plan_command(changed, on).environment["VLLM_CACHE_ROOT"]

    same = [
        replace(orders, served_names=("other",)),
        replace(orders, engine=EngineOptions(stream_interval=20, load_strategy=LoadStrategy.EAGER)),
    ]
    others = [
        replace(orders, gpu_memory_utilization=0.8),
        replace(orders, tensor_parallel_size=2),
        replace(orders, max_num_seqs=8),
        replace(orders, engine=EngineOptions(enforce_eager=True)),
        replace(orders, extra_args=("--block-size", "64")),
    ]
    assert {root(changed) for changed in same} == {root(orders)}
    roots = [root(changed) for changed in (orders, *others)]
    roots += [root(orders, replace(pod, gpu_names=("A100",))), root(orders, replace(pod, vllm_version="0.33.0"))]
    assert len(set(roots)) == len(roots)


def test_listens_on_ipv6_in_a_pod_that_has_nothing_else() -> None:
    assert value_of(plan_command(DIRECTORY, replace(facts(), ipv6_only=True)), "--host") == "::"


@pytest.mark.parametrize(
    ("orders", "pod", "words"),
    [
        (DIRECTORY, facts(ModelDirectory(exists=False, has_config=False)), "no directory /models/x in the pod"),
        (DIRECTORY, facts(ModelDirectory(exists=True, has_config=False)), "no config.json in /models/x"),
        (an_order(""), facts(None), "set spec.model"),
        (an_order("--port"), facts(None), "is no model"),
        (an_order("/m", tensor_parallel_size=3), facts(), "set spec.tensorParallel to 1, 2, 4 or 8"),
        (an_order("/m", tensor_parallel_size="2"), facts(), "set spec.tensorParallel to 1, 2, 4 or 8"),
        (an_order("/m", tensor_parallel_size=8), facts(device="cpu", cpus=2), "the pod may use 2"),
        (an_order("/m", max_num_seqs=0), facts(), "spec.engine.maxNumSeqs"),
        (an_order("/m", max_model_len=0), facts(), "spec.engine.maxModelLen"),
        (an_order("/m", drain_seconds=-1), facts(), "spec.drainSeconds"),
        (an_order("/m", gpu_memory_utilization=1.5), facts(), "spec.engine.gpuMemoryUtilization"),
        (an_order("/m", served_names=()), facts(), "spec.model.servedName"),
        (an_order("/m", served_names=("--x",)), facts(), "cannot be a served name"),
        (an_order("/m", extra_args=("--port", "1")), facts(), "--port is not yours"),
        (an_order("/m", extra_args=("-q", "fp8")), facts(), "set spec.engine.quantization"),
        (an_order("/m", stall_seconds=0), facts(), "spec.health.stallSeconds"),
        (an_order("/m", restart_seconds="x"), facts(), "spec.health.restartSeconds"),
        (an_order("/m", restart_seconds=20), facts(), "at least spec.health.stallSeconds, which is 30"),
        (an_order("/m", probe_seconds=True), facts(), "spec.health.probeSeconds"),
        (an_order("/m", cloud="Moon"), facts(), "set spec.interruption.cloud to one of Auto, Off, AWS, GCP, Azure"),
        (an_order("/m", cloud=[]), facts(), "spec.interruption.cloud"),
        (an_order("/m", compile_cache="cache"), facts(), "an absolute path is needed"),
        (an_order("/m", weights=WeightsOrder(source="me/mine", directory="/m")), facts(), "set spec.model.source"),
        (an_order("/m", weights=WeightsOrder(source="hf://me/mine", directory="/n")), facts(), "the same directory"),
        (an_order("/m", engine=EngineOptions(stream_interval=0)), facts(), "spec.engine.streamInterval"),
        (an_order("/m", engine=EngineOptions(pipeline_parallel_size=4)), facts(device="cpu", cpus=2), "4 ranks need"),
        (
            an_order("/m", engine=EngineOptions(speculation=EAGLE)),
            replace(facts(), draft_directory=ModelDirectory(exists=False, has_config=False)),
            "correct spec.engine.speculation.model",
        ),
    ],
)
def test_refuses_with_a_remedy(orders: ServerOrders, pod: PodFacts, words: str) -> None:
    with pytest.raises(BadOrdersError) as refused:
        plan_command(orders, pod)
    assert words in str(refused.value)


def test_tells_everything_that_is_wrong_at_once() -> None:
    orders = an_order("/m", tensor_parallel_size=3, max_num_seqs=0, extra_args=("--port=1",))
    assert len(refuse(orders, facts())) == 3


@given(st.sampled_from(TENSOR_PARALLEL_SIZES), st.sets(st.integers(min_value=0, max_value=512), min_size=8))
def test_every_cpu_goes_to_exactly_one_rank_and_no_rank_is_without(size: int, cpus: set[int]) -> None:
    groups = [[int(cpu) for cpu in group.split(",")] for group in bind_cpus(size, cpus).split("|")]
    assert len(groups) == size
    assert sorted(cpu for group in groups for cpu in group) == sorted(cpus)
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


@given(
    st.integers(min_value=-5, max_value=20),
    st.integers(min_value=-5, max_value=5),
    st.one_of(st.none(), st.floats(allow_nan=True)),
    st.lists(st.sampled_from(["--port", "--seed", "1", "-tp", "--max_model_len=5", ""])),
)
def test_a_plan_says_each_owned_thing_once_or_is_refused(
    tensor_parallel_size: int, max_num_seqs: int, share: float | None, extra: list[str]
) -> None:
    orders = an_order(
        "/m",
        tensor_parallel_size=tensor_parallel_size,
        max_num_seqs=max_num_seqs,
        gpu_memory_utilization=share,
        extra_args=tuple(extra),
    )
    refusals = refuse(orders, facts())
    assert all(refusals)
    if not refusals:
        arguments = plan_command(orders, facts()).arguments
        assert all(arguments.count(flag) <= 1 for flag in OWNED_FLAGS)
        assert int(arguments[arguments.index("--tensor-parallel-size") + 1]) in TENSOR_PARALLEL_SIZES
