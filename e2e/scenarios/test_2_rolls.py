"""Everything is replaced under live streams, and nobody notices."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.children import eventually
from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import MODEL, START_SECONDS, URL, Load
from e2e.scenarios.pods import GATEWAYS, REPLICAS, Background, lasting_streams, uids
from e2e.watch import settled, until


STREAMS = 32
TOKENS = 150
ROLL_SECONDS = 800


@pytest.fixture
def full(chat: Kubectl) -> Iterator[Kubectl]:
    """Two replicas, whose places are as many as the streams."""
    chat("scale", "gptoss", "chat", "--replicas=2")
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)
    yield chat
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)


def replaced(kubectl: Kubectl, selector: str, before: dict[str, str]) -> bool:
    """Whether as many pods as before are there and ready, and none of those from before."""
    pods = kubectl.items("pods", "-l", selector)
    ready = [pod for pod in pods if {"type": "Ready", "status": "True"}.items() <= _ready(pod).items()]
    return len(ready) == len(before) and not set(before.values()) & {pod["metadata"]["uid"] for pod in pods}


def _ready(pod: dict[str, Any]) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = pod["status"].get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def check(streams: Background, requests: Background) -> None:
    result = streams.wait()
    assert set(result["finished"]) == {"length"}
    assert len(result["finished"]) >= STREAMS
    others = requests.wait()
    assert others["errors"] == []
    assert others["answered"] > 0


@pytest.mark.timeout(1200)
def test_gateways_are_replaced_under_live_streams(full: Kubectl, load: Load) -> None:
    before = uids(full, GATEWAYS)
    with lasting_streams(full, load, url=URL, model=MODEL, count=STREAMS, tokens=TOKENS) as streams:
        requests = Background(load, "completions", URL, MODEL, 1000, 60)
        full("rollout", "restart", "deployment/chat-gateway")
        eventually(lambda: replaced(full, GATEWAYS, before), "all gateways are new", seconds=ROLL_SECONDS)
    check(streams, requests)


@pytest.mark.timeout(1800)
def test_replicas_are_replaced_under_live_streams(full: Kubectl, load: Load) -> None:
    before = uids(full, REPLICAS)
    with lasting_streams(full, load, url=URL, model=MODEL, count=STREAMS, tokens=TOKENS) as streams:
        requests = Background(load, "completions", URL, MODEL, 1000, 120)
        # It stays: to take it away would replace them all once more.
        patch = json.dumps({"spec": {"rollout": {"trigger": min(before.values())}}})
        full("patch", "gptoss", "chat", "--type=merge", "-p", patch)
        eventually(lambda: replaced(full, REPLICAS, before), "all replicas are new", seconds=ROLL_SECONDS)
    check(streams, requests)
