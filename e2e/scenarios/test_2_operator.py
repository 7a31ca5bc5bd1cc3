"""What the operator repairs and scales, and that requests do not need it."""

import json

from e2e.children import eventually
from e2e.kubectl import Kubectl
from e2e.processes import kill_in_pod
from e2e.replicas import state_of
from e2e.scenarios.conftest import MODEL, SERVICE, START_SECONDS, URL, Load
from e2e.scenarios.pods import GATEWAYS, OPERATOR, REPLICAS, Background, restarts, running, uids
from e2e.stack import OPERATOR_NAMESPACE, RELEASE, Stack
from e2e.watch import condition, settled, until
from gptoss_runtime.contract import Phase


def test_a_restart_of_the_operator_touches_no_pod(stack: Stack, chat: Kubectl) -> None:
    system = stack.kubectl(OPERATOR_NAMESPACE)
    before = uids(chat, "gptoss.dev/deployment=chat")
    generations = {s["metadata"]["name"]: s["metadata"]["generation"] for s in chat.items("statefulsets,deployments")}
    operators = uids(system, OPERATOR)
    assert len(operators) == 2
    worked = _holder(system)
    for uid in operators.values():
        kill_in_pod(uid, "gptoss_operator")
    eventually(lambda: all(restarts(system, name) > 0 for name in operators), "the containers start again", seconds=60)
    system("rollout", "status", f"deployment/{RELEASE}", "--timeout=60s")
    eventually(lambda: _holder(system) != worked, "one of the new processes works", seconds=60)
    until(chat, "chat", settled, timeout_seconds=60, show=False)
    assert uids(chat, "gptoss.dev/deployment=chat") == before
    assert {
        s["metadata"]["name"]: s["metadata"]["generation"] for s in chat.items("statefulsets,deployments")
    } == generations


def _holder(system: Kubectl) -> str:
    """Return the identity of the operator's process that works."""
    holder: str = system.json("get", "lease", RELEASE)["spec"]["holderIdentity"]
    return holder


def test_requests_flow_while_the_operator_is_absent_and_an_engine_dies(stack: Stack, chat: Kubectl, load: Load) -> None:
    system = stack.kubectl(OPERATOR_NAMESPACE)
    system("scale", f"deployment/{RELEASE}", "--replicas=0")
    eventually(lambda: not system.items("pods", "-l", OPERATOR), "the operator is gone", seconds=60)
    try:
        requests = Background(load, "completions", URL, MODEL, 400, 60)
        victim, uid = next(iter(uids(chat, REPLICAS).items()))
        before = restarts(chat, victim)
        kill_in_pod(uid, "EngineCore")
        eventually(lambda: restarts(chat, victim) > before, "the container starts again", seconds=60)
        ended = chat.json("get", "pod", victim)["status"]["containerStatuses"][0]["lastState"]["terminated"]
        assert ended["exitCode"] == 71
        result = requests.wait()
        assert result["errors"] == []
        assert result["answered"] >= 20
    finally:
        system("scale", f"deployment/{RELEASE}", "--replicas=2")
    eventually(
        lambda: (
            condition(chat.json("get", "gptoss", "chat"), "Progressing")["status"] == "True"
            or settled(chat.json("get", "gptoss", "chat"))
        ),
        "the operator is back",
        seconds=60,
    )
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)


def test_a_killed_gateway_leaves_the_other_answering(chat: Kubectl, load: Load) -> None:
    name, uid = next(iter(uids(chat, GATEWAYS).items()))
    kill_in_pod(uid, "haproxy.cfg")
    eventually(lambda: restarts(chat, name) > 0, "HAProxy starts again", seconds=60)
    until(chat, "chat", settled, timeout_seconds=60, show=False)
    result = load("completions", URL, MODEL, 20, 60)
    assert result["errors"] == []
    assert result["answered"] == 20


def test_drift_is_repaired_and_requests_are_answered_again(chat: Kubectl, load: Load) -> None:
    chat("delete", "service", "chat", "--wait=false")
    chat("delete", "deployment", "chat-gateway", "--wait=false")
    broken = json.dumps({"data": {"haproxy.cfg": "nonsense"}})
    chat("patch", "configmap", "chat-gateway", "--type=merge", "-p", broken)
    eventually(lambda: len(uids(chat, GATEWAYS)) == 2, "the gateway's pods are back", seconds=60)
    until(chat, "chat", settled, timeout_seconds=90, show=False)
    # The Service has a new address, and names are remembered for some seconds.
    eventually(lambda: address_in_client(chat) == address_of_service(chat), "its name leads to the new Service")
    result = load("completions", URL, MODEL, 10, 60)
    assert result["errors"] == []


def address_in_client(kubectl: Kubectl) -> str:
    ask = f"import socket; print(socket.gethostbyname({SERVICE!r}))"
    return kubectl("exec", "client", "--", "python3", "-c", ask).strip()


def address_of_service(kubectl: Kubectl) -> str:
    address: str = kubectl.json("get", "service", "chat")["spec"]["clusterIP"]
    return address


def test_scaling_down_cuts_no_stream(chat: Kubectl, load: Load) -> None:
    chat("scale", "gptoss", "chat", "--replicas=3")
    until(chat, "chat", settled, timeout_seconds=START_SECONDS, show=False)
    assert len(uids(chat, REPLICAS)) == 3
    streams = Background(load, "streams", URL, MODEL, 6, 800)
    eventually(lambda: running(chat) >= 6, "all streams run", seconds=60)
    chat("scale", "gptoss", "chat", "--replicas=1")
    assert streams.wait()["finished"] == ["length"] * 6
    until(chat, "chat", settled, timeout_seconds=120, show=False)
    (left,) = uids(chat, REPLICAS)
    assert state_of(chat, left).phase is Phase.READY
