"""What operators of the gateway see of requests: one line and one observation for each."""

import json
from http import HTTPStatus
from typing import Any

import pytest
from openai import NotFoundError, OpenAI

from e2e.children import eventually
from e2e.gateways import gateway_metrics, gateway_pods, requests_logged
from e2e.kubectl import Kubectl
from e2e.model import ANSWER_TEXT
from e2e.scenarios.conftest import MODEL


HISTOGRAMS = (
    "gptoss_gateway_queue_seconds",
    "gptoss_gateway_time_to_first_token_seconds",
    "gptoss_gateway_time_per_output_token_seconds",
    "gptoss_gateway_request_seconds",
)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def logged(kubectl: Kubectl, request_id: str) -> dict[str, Any]:
    """Return the line of one request, which comes when the request has ended."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found.extend(line for line in requests_logged(kubectl, "chat") if line["id"] == request_id)
        return bool(found)

    eventually(look, f"request {request_id} is in the log", seconds=15)
    assert len({json.dumps(line, sort_keys=True) for line in found}) == 1
    return found[0]


def addresses(kubectl: Kubectl) -> set[str]:
    pods = kubectl.items("pods", "-l", "gptoss.dev/deployment=chat,app.kubernetes.io/component=replica")
    return {pod["status"]["podIP"] for pod in pods}


def test_a_stream_has_a_line_with_its_times_and_tokens(openai: OpenAI, chat: Kubectl) -> None:
    traceparent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with openai.chat.completions.with_streaming_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], stream=True, extra_headers=traceparent
    ) as answer:
        events = [line for line in answer.iter_lines() if line.startswith("data: {")]
        request_id = answer.headers["x-request-id"]
    # Nobody asked for the usage, which the gateway counts by, so nobody gets it.
    assert all(not json.loads(event.removeprefix("data: ")).get("usage") for event in events)
    line = logged(chat, request_id)
    said = {
        "tenant": "anonymous",
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": MODEL,
        "stream": True,
        "status": HTTPStatus.OK,
        "retries": 0,
        "trace_id": TRACE,
        "ended": "completed",
    }
    assert {name: line[name] for name in said} == said
    assert line["replica"].rsplit(":", 1)[0] in addresses(chat)
    assert 0 <= line["queue_ms"] <= line["ttft_ms"] <= line["total_ms"]
    assert line["tokens_in"] > 0
    assert line["tokens_out"] > len(ANSWER_TEXT.split())


def test_tokens_are_those_of_the_answer(openai: OpenAI, chat: Kubectl) -> None:
    answer = openai.completions.with_raw_response.create(model=MODEL, prompt="Hello", max_tokens=8)
    usage = answer.parse().usage
    line = logged(chat, answer.headers["x-request-id"])
    assert usage is not None
    assert (line["tokens_in"], line["tokens_out"]) == (usage.prompt_tokens, usage.completion_tokens)


def test_what_the_front_door_refuses_says_why(openai: OpenAI, chat: Kubectl) -> None:
    with pytest.raises(NotFoundError) as refused:
        openai.completions.create(model="gpt-5", prompt="Hello")
    line = logged(chat, refused.value.response.headers["x-request-id"])
    assert (line["status"], line["code"], line["ended"]) == (HTTPStatus.NOT_FOUND, "model_not_found", "refused")
    assert (line["replica"], line["ttft_ms"], line["tokens_out"]) == (None, None, None)


def test_histograms_tell_tenants_and_codes_apart(openai: OpenAI, chat: Kubectl) -> None:
    wanted = {"tenant": "anonymous", "code": "200"}
    for _ in openai.completions.create(model=MODEL, prompt="Hello", max_tokens=8, stream=True):
        pass

    def counted() -> bool:
        pods = [gateway_metrics(chat, pod) for pod in gateway_pods(chat, "chat")]
        return all(
            any(
                sample.value > 0 and sample.name == f"{name}_count" and wanted.items() <= sample.labels.items()
                for metrics in pods
                for sample in metrics[name].samples
            )
            for name in HISTOGRAMS
        )

    eventually(counted, f"each of {', '.join(HISTOGRAMS)} has an observation of {wanted}", seconds=15)
