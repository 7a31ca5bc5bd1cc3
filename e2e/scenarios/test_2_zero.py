"""Requests while there is no replica: held, kept alive, and all answered by the first one that comes."""

from e2e.children import eventually
from e2e.gateways import gateway_metrics, gateway_pods
from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import MODEL, START_SECONDS, URL, Load
from e2e.scenarios.pods import REPLICAS, Background
from e2e.watch import settled, until


EACH = 10
TOKENS = 8


def held(kubectl: Kubectl) -> float:
    pods = gateway_pods(kubectl, "chat")
    return sum(gateway_metrics(kubectl, pod)["gptoss_gateway_held"].samples[0].value for pod in pods)


def test_requests_at_zero_are_held_until_a_replica_is_there(chat: Kubectl, load: Load) -> None:
    chat("scale", "gptoss", "chat", "--replicas=0")
    eventually(lambda: not chat.items("pods", "-l", REPLICAS), "all replicas are gone", seconds=240)
    streams = Background(load, "streams", URL, MODEL, EACH, TOKENS)
    others = Background(load, "at-once", URL, MODEL, EACH, TOKENS)
    eventually(lambda: held(chat) == 2 * EACH, "all requests are held", seconds=60)
    chat("scale", "gptoss", "chat", "--replicas=1")
    answers = streams.wait()
    assert answers["finished"] == ["length"] * EACH
    assert answers["commented"] == EACH
    assert any("1 of 1 starting, loading the model" in comment for comment in answers["comments"])
    assert others.wait()["finished"] == ["length"] * EACH
    assert held(chat) == 0
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)
