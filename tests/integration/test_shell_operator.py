"""The operator as a process, on a real API server whose pods become ready by simulation."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from tests.integration.operator_process import ROOT, OperatorProcess, kubectl, read, wait_for


CHAT = {
    "apiVersion": "gptoss.dev/v1alpha1",
    "kind": "GptOssDeployment",
    "metadata": {"name": "chat"},
    "spec": {"model": {"name": "gpt-oss-20b"}, "replicas": 2},
}
CHILDREN = "statefulset,deployment,service,configmap,poddisruptionbudget"
OURS = "gptoss.dev/deployment=chat"


@pytest.fixture
def deployments(api: Cluster, namespace: str) -> Iterator[str]:
    """A namespace on a server that knows our resource."""
    run([*api.kubectl(), "apply", "--server-side", "-f", str(ROOT / "crds")], timeout_seconds=30)
    run([*api.kubectl(), "wait", "--for=condition=Established", "crd/gptossdeployments.gptoss.dev"], timeout_seconds=30)
    yield namespace
    kubectl(api, namespace, "delete", "gptoss", "--all", "--wait=false")


def conditions(api: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    chat = read(api, namespace, "gptoss", "chat")
    return {condition["type"]: condition for condition in chat.get("status", {}).get("conditions", [])}


def is_settled(api: Cluster, namespace: str) -> bool:
    found = conditions(api, namespace)
    return bool(found) and found["Available"]["status"] == "True" and found["Progressing"]["reason"] == "Settled"


def children(api: Cluster, namespace: str) -> list[str]:
    found = read(api, namespace, CHILDREN, "-l", OURS)["items"]
    return sorted(f"{item['kind']} {item['metadata']['name']}" for item in found)


ALL_CHILDREN = sorted(
    [
        "ConfigMap chat-gateway",
        "Deployment chat-gateway",
        "PodDisruptionBudget chat-gateway",
        "PodDisruptionBudget chat-replicas",
        "Service chat",
        "Service chat-replicas",
        "StatefulSet chat-r0",
        "StatefulSet chat-r1",
    ]
)


def test_it_settles_then_writes_nothing_and_leaves_the_users_object_alone(
    api: Cluster, deployments: str, tmp_path: Path
) -> None:
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        kubectl(api, deployments, "apply", "--server-side", "-f", "-", given=CHAT)
        wait_for("the deployment settles", lambda: is_settled(api, deployments), operator.alive)
        assert children(api, deployments) == ALL_CHILDREN
        time.sleep(1)  # The last status write makes one more, quiet pass.
        before = operator.writes()
        time.sleep(3)
        assert operator.writes() == before
        assert operator.get("/healthz") == "ok\n"
    chat = read(api, deployments, "gptoss", "chat", "--show-managed-fields")

    assert operator.process.returncode == 0
    assert "annotations" not in chat["metadata"]
    assert "finalizers" not in chat["metadata"]
    ours = [entry for entry in chat["metadata"]["managedFields"] if entry["manager"] == "gptoss-operator"]
    assert [entry["subresource"] for entry in ours] == ["status"]
    assert "Traceback" not in operator.log.read_text()


Damage = tuple[list[str], list[str], Callable[[Any], bool]]
DAMAGES: dict[str, Damage] = {
    "a StatefulSet's template": (
        [
            "patch",
            "statefulset/chat-r0",
            "--type=merge",
            "-p",
            '{"spec":{"template":{"spec":{"priority":null,"terminationGracePeriodSeconds":1}}}}',
        ],
        ["statefulset", "chat-r0"],
        lambda found: found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 1,
    ),
    "a StatefulSet's size": (
        ["scale", "statefulset/chat-r1", "--replicas=0"],
        ["statefulset", "chat-r1"],
        lambda found: found["spec"]["replicas"] == 1,
    ),
    "the label by which a StatefulSet is watched": (
        ["label", "statefulset/chat-r1", "gptoss.dev/deployment-"],
        ["statefulset", "chat-r1"],
        lambda found: found["metadata"]["labels"].get("gptoss.dev/deployment") == "chat",
    ),
    "a Deployment": (
        ["scale", "deployment/chat-gateway", "--replicas=0"],
        ["deployment", "chat-gateway"],
        lambda found: found["spec"]["replicas"] == 2,
    ),
    "a Service": (
        ["patch", "service/chat", "--type=merge", "-p", '{"spec":{"type":"NodePort"}}'],
        ["service", "chat"],
        lambda found: found["spec"]["type"] == "ClusterIP",
    ),
    "a ConfigMap": (
        ["patch", "configmap/chat-gateway", "--type=merge", "-p", '{"data":{"haproxy.cfg":"broken"}}'],
        ["configmap", "chat-gateway"],
        lambda found: found["data"]["haproxy.cfg"] != "broken",
    ),
    "a PodDisruptionBudget": (
        ["patch", "pdb/chat-replicas", "--type=merge", "-p", '{"spec":{"maxUnavailable":2}}'],
        ["pdb", "chat-replicas"],
        lambda found: found["spec"]["maxUnavailable"] == 1,
    ),
    "an object that was deleted": (
        ["delete", "service/chat-replicas", "--wait=false"],
        ["service", "--ignore-not-found", "chat-replicas"],
        lambda found: "deletionTimestamp" not in found["metadata"],
    ),
}


def test_drift_of_every_kind_is_repaired(api: Cluster, deployments: str, tmp_path: Path) -> None:
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        kubectl(api, deployments, "apply", "--server-side", "-f", "-", given=CHAT)
        wait_for("the deployment settles", lambda: is_settled(api, deployments), operator.alive)
        for what, (damage, place, is_repaired) in DAMAGES.items():
            kubectl(api, deployments, *damage)

            def repaired(place: list[str] = place, is_repaired: Callable[[Any], bool] = is_repaired) -> bool:
                text = kubectl(api, deployments, "get", *place, "--output=json")
                return bool(text) and is_repaired(json.loads(text))

            wait_for(f"repaired: {what}", repaired, operator.alive)
        wait_for("everything is there", lambda: children(api, deployments) == ALL_CHILDREN, operator.alive)
        wait_for("the deployment settles again", lambda: is_settled(api, deployments), operator.alive)


def test_a_service_of_somebody_else_is_left_alone_and_said_so(api: Cluster, deployments: str, tmp_path: Path) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
    }
    kubectl(api, deployments, "apply", "-f", "-", given=foreign)
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        kubectl(api, deployments, "apply", "--server-side", "-f", "-", given=CHAT)

        def is_said() -> bool:
            found = conditions(api, deployments).values()
            return any(c["reason"] == "NameTaken" and "Service chat" in c["message"] for c in found)

        wait_for("the condition says who is in the way", is_said, operator.alive)
        service = read(api, deployments, "service", "chat")
        assert service["spec"]["selector"] == {"app": "other"}
        assert "ownerReferences" not in service["metadata"]
        assert children(api, deployments) == [child for child in ALL_CHILDREN if child != "Service chat"]

        kubectl(api, deployments, "delete", "service", "chat")
        kubectl(api, deployments, "label", "gptoss/chat", "try=again")
        wait_for("the way is free", lambda: is_settled(api, deployments), operator.alive)
        assert children(api, deployments) == ALL_CHILDREN


def test_deletion_leaves_nothing(api: Cluster, deployments: str, tmp_path: Path) -> None:
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        kubectl(api, deployments, "apply", "--server-side", "-f", "-", given=CHAT)
        wait_for("the deployment settles", lambda: is_settled(api, deployments), operator.alive)

        kubectl(api, deployments, "delete", "gptoss", "chat")

        wait_for("nothing is left", lambda: not children(api, deployments), operator.alive)
        wait_for("no pod is left", lambda: not read(api, deployments, "pods")["items"], operator.alive)
        assert 'name="chat"' not in (operator.get("/metrics") or "")


def test_killed_in_the_middle_of_the_first_apply_it_ends_in_the_same_state(
    api: Cluster, deployments: str, tmp_path: Path
) -> None:
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        kubectl(api, deployments, "apply", "--server-side", "-f", "-", given=CHAT)
        wait_for("the first child exists", lambda: children(api, deployments), operator.alive)
        operator.process.send_signal(signal.SIGKILL)
        operator.process.wait(timeout=10)
    with OperatorProcess(api, deployments, tmp_path / "log") as operator:
        wait_for("the deployment settles", lambda: is_settled(api, deployments), operator.alive)

        assert children(api, deployments) == ALL_CHILDREN
