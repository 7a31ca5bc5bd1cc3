"""Clients that people use, as they are: OpenAI's SDK beyond plain chat, and the usual load generators."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam

from e2e.clients.packages import ensure_packages
from e2e.clients.pod import MODELS, RESULTS, generator_pod
from e2e.kubectl import Kubectl
from e2e.model import ANSWER_TEXT, REASONING_TEXT
from e2e.replicas import replica_pods
from e2e.scenarios.conftest import MODEL, NAMESPACE, URL
from e2e.shown import shown
from e2e.stack import Stack
from e2e.volumes import directory_claim
from gptoss_runtime.contract import OPENAI_PORT


HELLO: ChatCompletionMessageParam = {"role": "user", "content": "Hello! Who are you?"}
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": SCHEMA},
}
TOOL: FunctionToolParam = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": None}
CALLED: list[ChatCompletionMessageParam] = [
    HELLO,
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]
NAMED: dict[str, Any] = {"type": "function", "function": {"name": "get_weather"}}
PROMPTS = 12
TOKENS = 16
GENERATOR_SECONDS = 400
"""Importing PyTorch alone takes half a minute where two CPUs are busy."""


@pytest.fixture
def direct(chat: Kubectl) -> Iterator[OpenAI]:
    """The same client at a replica itself, past the gateway."""
    with chat.forwarded(f"pod/{replica_pods(chat, 'chat')[0]}", OPENAI_PORT) as port:
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60, max_retries=0)
        with client:
            yield client


def said(answer: ChatCompletion) -> dict[str, Any]:
    """Return what an answer says, without what differs from one request to the next."""
    content: dict[str, Any] = answer.choices[0].model_dump()
    for call in content["message"]["tool_calls"] or ():
        call["id"] = ""
    return content


def test_the_asynchronous_client(openai: OpenAI) -> None:
    async def ask() -> tuple[list[str | None], str]:
        client = AsyncOpenAI(base_url=str(openai.base_url), api_key="none", timeout=60, max_retries=0)
        async with client:
            answers = await asyncio.gather(
                *(client.chat.completions.create(model=MODEL, messages=[HELLO]) for _ in range(8))
            )
            stream = await client.chat.completions.create(model=MODEL, messages=[HELLO], stream=True)
            streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return [answer.choices[0].message.content for answer in answers], "".join(streamed)

    assert asyncio.run(ask()) == ([ANSWER_TEXT] * 8, ANSWER_TEXT)


def test_usage_of_a_stream_comes_to_who_asks_for_it(openai: OpenAI) -> None:
    asked = list(
        openai.chat.completions.create(
            model=MODEL, messages=[HELLO], stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens > 0
    others = list(openai.chat.completions.create(model=MODEL, messages=[HELLO], stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in others)


def test_tools_that_may_be_used(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=MODEL, messages=[HELLO], tools=[WEATHER], tool_choice="auto")
    assert answer.choices[0].message.content == ANSWER_TEXT
    chunks = openai.chat.completions.create(model=MODEL, messages=[HELLO], tools=[WEATHER], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER_TEXT


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_tools_that_must_be_used(openai: OpenAI, direct: OpenAI, choice: Any) -> None:  # noqa: ANN401 - a raw choice
    """What the tiny model makes of it is nonsense: it must be the same nonsense with the gateway and without it."""
    answers = [
        client.chat.completions.create(
            model=MODEL, messages=[HELLO], tools=[WEATHER], tool_choice=choice, max_tokens=48, temperature=0
        )
        for client in (openai, direct)
    ]
    assert said(answers[0]) == said(answers[1])


def test_results_of_tools(openai: OpenAI, direct: OpenAI) -> None:
    answers = [
        client.chat.completions.create(model=MODEL, messages=CALLED, tools=[WEATHER], temperature=0)
        for client in (openai, direct)
    ]
    assert said(answers[0]) == said(answers[1])


def test_responses_with_tools(openai: OpenAI) -> None:
    answer = openai.responses.create(model=MODEL, input="Hello!", tools=[TOOL])
    assert answer.output_text == ANSWER_TEXT
    with openai.responses.stream(model=MODEL, input="Hello!", tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == ANSWER_TEXT
    assert [part.text for item in final.output if item.type == "reasoning" for part in item.content or []] == [
        REASONING_TEXT
    ]


@pytest.fixture(scope="module")
def bench(stack: Stack, chat: Kubectl) -> Kubectl:
    """A pod `bench` of the server image, which has the program `vllm`."""
    chat.apply(generator_pod("bench", stack.images.server))
    chat("wait", "pod/bench", "--for=condition=Ready", "--timeout=60s")
    return chat


@pytest.fixture(scope="module")
def guidellm(request: pytest.FixtureRequest, stack: Stack, bench: Kubectl) -> Kubectl:
    """A pod `guidellm` of the same image, with guidellm."""
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    with shown(request):
        packages = ensure_packages(bench("exec", "bench", "--", "python3", "-c", version).strip())
    bench.apply(
        *directory_claim(NAMESPACE, "guidellm", packages),
        generator_pod("guidellm", stack.images.server, packages_claim="guidellm"),
    )
    bench("wait", "pod/guidellm", "--for=condition=Ready", "--timeout=60s")
    return bench


def result_of(kubectl: Kubectl, pod: str, *command: str) -> dict[str, Any]:
    """Return the JSON document that a load generator has written."""
    kubectl("exec", pod, "--", "python3", "-m", *command, timeout_seconds=GENERATOR_SECONDS)
    result: dict[str, Any] = json.loads(kubectl("exec", pod, "--", "cat", f"{RESULTS}/result.json"))
    return result


def test_vllm_bench_serve(bench: Kubectl) -> None:
    options = {
        "--backend": "openai-chat",
        "--base-url": URL.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": MODEL,
        "--tokenizer": MODELS,
        "--dataset-name": "random",
        "--random-input-len": "32",
        "--random-output-len": str(TOKENS),
        "--num-prompts": str(PROMPTS),
        "--max-concurrency": "4",
        "--result-dir": RESULTS,
        "--result-filename": "result.json",
    }
    words = [word for option in options.items() for word in option]
    module = "vllm.entrypoints.cli.main"
    result = result_of(bench, "bench", module, "bench", "serve", *words, "--save-result", "--disable-tqdm")
    assert (result["completed"], result["failed"]) == (PROMPTS, 0)
    assert result["total_output_tokens"] == PROMPTS * TOKENS
    assert 0 < result["median_ttft_ms"] <= result["p99_ttft_ms"]


def test_guidellm(guidellm: Kubectl) -> None:
    options = {
        "--backend": f"kind=openai_http,target={URL.removesuffix('/v1')},model={MODEL}",
        "--profile": "kind=concurrent,streams=2",
        "--constraint": f"kind=max_requests,count={PROMPTS}",
        "--tokenizer": f"kind=huggingface_auto,model={MODELS}",
        "--data": f"kind=synthetic_text,prompt_tokens=32,output_tokens={TOKENS}",
        "--output": f"kind=json,path={RESULTS}/result.json",
    }
    words = [word for option in options.items() for word in option]
    result = result_of(guidellm, "guidellm", "guidellm", "run", *words, "--disable-console-interactive")
    metrics = result["benchmarks"][0]["metrics"]
    totals = metrics["request_totals"]
    assert (totals["errored"], totals["incomplete"]) == (0, 0)
    # The first request of each worker is its warm-up, which it does not count.
    assert PROMPTS / 2 <= totals["successful"] <= PROMPTS
    assert metrics["time_to_first_token_ms"]["successful"]["median"] > 0
    assert metrics["output_token_count"]["successful"]["mean"] == TOKENS
