"""Answers of a real vLLM through the real gateway, to the client that people use."""

import http.client
import json

import pytest
from openai import NotFoundError, OpenAI

from e2e.children import eventually
from e2e.gateways import requests_logged
from e2e.kubectl import Kubectl
from e2e.model import ANSWER_TEXT, REASONING_TEXT
from e2e.replicas import answered, answered_since
from e2e.scenarios.conftest import MODEL, URL, Load


QUESTION = "Hello! Who are you?"


def test_chat(openai: OpenAI) -> None:
    answer = openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].message.content == ANSWER_TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL


def test_chat_streamed(openai: OpenAI) -> None:
    chunks = list(
        openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER_TEXT
    assert len(chunks) > 5


def test_completions(openai: OpenAI) -> None:
    answer = openai.completions.create(model=MODEL, prompt=QUESTION, max_tokens=8)
    assert answer.choices[0].text
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_completions_streamed(openai: OpenAI) -> None:
    whole = openai.completions.create(model=MODEL, prompt=QUESTION, max_tokens=8).choices[0].text
    chunks = openai.completions.create(model=MODEL, prompt=QUESTION, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole


def test_responses(openai: OpenAI) -> None:
    answer = openai.responses.create(model=MODEL, input=QUESTION)
    assert answer.output_text == ANSWER_TEXT
    reasoning = [part.text for item in answer.output if item.type == "reasoning" for part in item.content or []]
    assert reasoning == [REASONING_TEXT]


def test_responses_streamed(openai: OpenAI) -> None:
    events = list(openai.responses.create(model=MODEL, input=QUESTION, stream=True))
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == ANSWER_TEXT
    assert events[-1].type == "response.completed"


def test_models_are_listed_and_an_unknown_one_is_refused(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == [MODEL]
    with pytest.raises(NotFoundError) as refused:
        openai.completions.create(model="gpt-5", prompt=QUESTION)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_round_robin_is_exact(openai: OpenAI, chat: Kubectl) -> None:
    before = answered(chat, "chat")
    for _ in range(100):
        openai.completions.create(model=MODEL, prompt=QUESTION, max_tokens=2)
    assert list(answered_since(chat, "chat", before, 100).values()) == [50, 50]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/metrics", 404, "unknown_url"),
        ("POST", "/tokenize", 404, "unknown_url"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    ],
)
def test_other_paths_stay_inside(openai: OpenAI, method: str, path: str, status: int, code: str) -> None:
    link = http.client.HTTPConnection("127.0.0.1", openai.base_url.port, timeout=20)
    link.request(method, path, "{}" if method == "POST" else None)
    response = link.getresponse()
    body = json.loads(response.read())
    link.close()
    assert (response.status, body["error"]["code"]) == (status, code)


def test_what_is_beyond_the_replicas_places_waits_in_the_gateway(chat: Kubectl, load: Load) -> None:
    """Two replicas have 16 places each, which the gateways share, so 64 requests are more than there are."""
    assert load("streams", URL, MODEL, 64, 8)["finished"] == ["length"] * 64
    eventually(
        lambda: max(request["queue_ms"] or 0 for request in requests_logged(chat, "chat")) > 0,
        "a request that waited is in the log",
    )
