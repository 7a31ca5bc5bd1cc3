"""The deep health report, and what it is made of."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_runtime.contract import Check
from gptoss_runtime.server.deep import Facts, MemoryUse, Models, answer, gpu_fault
from gptoss_runtime.server.gpu import GpuReading
from gptoss_runtime.server.machine import read_cpu_seconds, read_memory
from gptoss_runtime.server.watchdog import Watch, WatchLimits


GPU = GpuReading(
    index=0,
    name="H100",
    uuid="GPU-1",
    memory_used_bytes=76 * 1024**3,
    memory_total_bytes=80 * 1024**3,
    utilization=None,
    temperature_celsius=None,
    power_watts=None,
    ecc_uncorrected=None,
    ecc_uncorrected_here=0,
    xids={},
)
LOST = replace(GPU, xids={79: 1})
WATCH = Watch(alive_at=0.0, probed_at=0.0)
GOOD = Facts(
    served_names=("openai/gpt-oss-20b", "chat"),
    max_model_len=4096,
    models=Models(lengths={"openai/gpt-oss-20b": 4096, "chat": 4096}),
    watch=WATCH,
    limits=WatchLimits(stall_seconds=30, restart_seconds=120, probe_seconds=60),
    kv_cache_usage=0.5,
    memory=MemoryUse(used_bytes=50, limit_bytes=100),
    gpus=(GPU, GPU),
)


def test_all_is_well() -> None:
    report = answer(GOOD)
    # Golden prompts are the orders' own, and have their own report.
    assert list(report) == [check for check in Check if check is not Check.GOLDEN_PROMPTS]
    assert all(result.ok for result in report.values())
    assert all(result.ok for result in answer(replace(GOOD, max_model_len=None)).values())


def test_what_is_not_known_is_neither_good_nor_bad() -> None:
    unknown = replace(GOOD, models=None, watch=None, kv_cache_usage=None, memory=None, gpus=())
    assert [result.ok for result in answer(unknown).values()] == [None] * 4


@pytest.mark.parametrize(
    ("facts", "check", "detail"),
    [
        (replace(GOOD, models=Models(lengths={"chat": 4096})), Check.MODEL_LOADED, "does not serve openai/gpt-oss-20b"),
        (replace(GOOD, max_model_len=8192), Check.MODEL_LOADED, "4096 tokens, not 8192"),
        (replace(GOOD, watch=replace(WATCH, wrong=2, wrong_reason="why")), Check.PARAMETERS_ACCESSIBLE, "why"),
        (replace(GOOD, watch=replace(WATCH, stalled_seconds=30)), Check.INFERENCE_WORKING, "takes no step"),
        (replace(GOOD, watch=replace(WATCH, unanswered_seconds=10)), Check.INFERENCE_WORKING, "answer a probe"),
        (
            replace(GOOD, memory=MemoryUse(used_bytes=95, limit_bytes=100)),
            Check.MEMORY_AVAILABLE,
            "spec.pod.resources.memory",
        ),
        (
            replace(GOOD, gpus=(GPU, replace(GPU, memory_used_bytes=80 * 1024**3))),
            Check.MEMORY_AVAILABLE,
            "almost no memory",
        ),
        (replace(GOOD, gpus=(GPU, LOST)), Check.MEMORY_AVAILABLE, "H100: the driver reported XID 79"),
    ],
)
def test_each_question_fails_alone(facts: Facts, check: Check, detail: str) -> None:
    report = answer(facts)
    assert [name for name, result in report.items() if result.ok is False] == [check]
    assert detail in report[check].detail


def test_a_full_cache_is_load_and_no_fault() -> None:
    result = answer(replace(GOOD, kv_cache_usage=1.0))[Check.MEMORY_AVAILABLE]
    assert result.ok
    assert "full" in result.detail


def test_memory_without_a_limit_is_never_used_up() -> None:
    report = answer(replace(GOOD, memory=MemoryUse(used_bytes=10**15, limit_bytes=None)))
    assert report[Check.MEMORY_AVAILABLE].ok


def test_a_gpus_error_is_told() -> None:
    assert gpu_fault((GPU, GPU)) == ""
    assert gpu_fault((GPU, LOST)) == "H100: the driver reported XID 79; the GPU must be reset"


def test_reads_the_pods_memory(tmp_path: Path) -> None:
    assert read_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 100\nfile 700\nshmem 50\ninactive_file 600\n")
    assert read_memory(tmp_path) == MemoryUse(used_bytes=150, limit_bytes=1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert read_memory(tmp_path) == MemoryUse(used_bytes=150, limit_bytes=None)
    (tmp_path / "memory.stat").write_text("nonsense\n")
    assert read_memory(tmp_path) is None


def test_reads_the_cpu_time_of_a_process_and_its_threads() -> None:
    before = read_cpu_seconds(os.getpid())
    assert before is not None
    assert before > 0
    program = (
        "import time; start = time.process_time()\nwhile time.process_time() - start < 0.2: pass\nprint(); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used = read_cpu_seconds(child.pid)
        child.communicate(b"\n")
    assert used is not None
    assert used >= 0.2
    assert read_cpu_seconds(child.pid) is None
