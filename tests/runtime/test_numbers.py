"""The few numbers that the supervisor reads of vLLM, as vLLM's process tells them."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest

from gptoss_runtime.server.asgi import Message, Receive, Scope, Send
from gptoss_runtime.server.books import NUMBERS_PATH
from gptoss_runtime.server.middleware import Middleware
from gptoss_runtime.server.numbers import MULTIPROCESS_ENV
from gptoss_runtime.server.telemetry import NAMES, numbers_of
from tests.runtime.harness import scenario


async def vllm(_: Scope, __: Receive, ___: Send) -> None:
    raise AssertionError("vLLM itself need not be asked")


async def look() -> list[Message]:
    got: list[Message] = []

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        got.append(message)

    await Middleware(vllm)({"type": "http", "method": "GET", "path": NUMBERS_PATH, "headers": []}, receive, send)
    return got


@pytest.fixture
def vllm_metrics() -> Iterator[None]:
    """Metrics as vLLM registers them, and some that nobody reads."""
    labels = {"model_name": "m", "engine": "0"}
    steps = Histogram("vllm:iteration_tokens_total", "", tuple(labels), buckets=(1, 8, 64))
    prompt = Counter("vllm:prompt_tokens", "", tuple(labels))
    finished = Counter("vllm:request_success", "", (*labels, "finished_reason"))
    first = Histogram("vllm:time_to_first_token_seconds", "", tuple(labels))
    further = Histogram("vllm:inter_token_latency_seconds", "", tuple(labels))
    running = Gauge("vllm:num_requests_running", "", tuple(labels))
    cache = Gauge("vllm:cache_config_info", "", ("engine", "kv_cache_size_tokens"))
    latency = Histogram("vllm:e2e_request_latency_seconds", "", tuple(labels))
    for tokens in (1, 1, 40):
        steps.labels(**labels).observe(tokens)
    prompt.labels(**labels).inc(7)
    finished.labels(**labels, finished_reason="stop").inc(2)
    finished.labels(**labels, finished_reason="length").inc(1)
    first.labels(**labels).observe(0.5)
    further.labels(**labels).observe(0.25)
    further.labels(**labels).observe(0.5)
    running.labels(**labels).set(3)
    cache.labels(engine="0", kv_cache_size_tokens="4096").set(1)
    latency.labels(**labels).observe(1)
    yield
    for metric in (steps, prompt, finished, first, further, running, cache, latency):
        REGISTRY.unregister(metric)


@pytest.mark.usefixtures("vllm_metrics")
@scenario
async def test_the_numbers_that_the_supervisor_reads_are_told_alone() -> None:
    head, answer = await look()
    assert head["status"] == 200
    assert dict(head["headers"])[b"content-type"].startswith(b"text/plain")
    text = answer["body"].decode()
    assert numbers_of(text) == numbers_of(generate_latest(REGISTRY).decode())
    assert numbers_of(text).counters["engine_steps"] == 3
    assert numbers_of(text).counters["further_tokens"] == 2
    assert numbers_of(text).counters["further_token_seconds"] == 0.75
    assert numbers_of(text).gauges["kv_tokens"] == 4096
    assert {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")} <= NAMES


@scenario
async def test_before_vllm_has_numbers_there_are_none() -> None:
    _, answer = await look()
    assert numbers_of(answer["body"].decode()) == numbers_of("")


@scenario
async def test_one_of_several_processes_does_not_tell_its_own_numbers_as_all() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MULTIPROCESS_ENV, "/tmp")  # noqa: S108 - nobody looks into it
        head, _ = await look()
    assert head["status"] == 404
