"""The whole operator on a real API server: pods are simulated, everything else is real."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from e2e.children import KINDS, children, eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl, KubectlError
from e2e.watch import condition, settled, until
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.operator_process import OperatorProcess
from tests.integration.proxy import Strike, proxied


FIRST_APPLY_WRITES = 12
"""Nine children, an event for each of two replicas, and the first status."""


@pytest.fixture(scope="session")
def collected(installed: Cluster) -> None:
    """Wait until the garbage collector knows our kind: it looks for new ones every 30 s."""
    kubectl = Kubectl(installed, "default")
    kubectl.apply({**deployment(), "metadata": {"name": "probe"}})
    owner = kubectl.json("get", "gptoss", "probe")
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        key: owner["metadata"][key] for key in ("name", "uid")
    }
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "ownerReferences": [reference]}}
    )
    kubectl("delete", "gptoss", "probe")
    eventually(
        lambda: not kubectl.items("configmaps", "--field-selector=metadata.name=probe"),
        "the garbage collector knows GptOssDeployments",
        seconds=90,
    )


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "unknown model": ({"model": {"name": "gpt-oss-21b"}}, "spec.model.name"),
    "no model": ({"model": {}}, "spec.model"),
    "two sources": (
        {"model": {"source": {"hostPath": {"path": "/x"}, "huggingFace": {"repository": "a/b"}}}},
        "spec.model.source",
    ),
    "path out of the volume": (
        {"model": {"source": {"persistentVolumeClaim": {"claimName": "x", "path": "../y"}}}},
        "spec.model.source.persistentVolumeClaim.path",
    ),
    "tensor parallel 3": ({"tensorParallel": 3}, "spec.tensorParallel"),
    "tensor parallel 16": ({"tensorParallel": 16}, "spec.tensorParallel"),
    "tensor parallel in words": ({"tensorParallel": "two"}, "spec.tensorParallel"),
    "replicas and scaling": ({"replicas": 1, "scaling": {"minReplicas": 1}}, "spec.replicas"),
    "negative replicas": ({"replicas": -1}, "spec.replicas"),
    "our flag": ({"engine": {"extraArgs": ["--port=1"]}}, "spec.engine.extraArgs"),
    "our flag, spelled otherwise": ({"engine": {"extraArgs": ["--served_model_name", "x"]}}, "spec.engine.extraArgs"),
    "eagle3 without a model": ({"engine": {"speculation": {"method": "eagle3"}}}, "spec.engine.speculation.model"),
    "a strategy of another format": (
        {"engine": {"load": {"format": "runai_streamer", "strategy": "eager"}}},
        "spec.engine.load.strategy",
    ),
    "a step too small for its requests": (
        {"engine": {"maxNumBatchedTokens": 64, "maxNumSeqs": 128}},
        "spec.engine.maxNumBatchedTokens",
    ),
    "a queue too short for what runs": (
        {"engine": {"maxQueuedRequests": 8, "maxNumSeqs": 16}},
        "spec.engine.maxQueuedRequests",
    ),
    "eager and compiled": ({"engine": {"enforceEager": True, "optimizationLevel": 2}}, "spec.engine.enforceEager"),
    "ngram and asynchronous": (
        {"engine": {"asyncScheduling": True, "speculation": {"method": "ngram"}}},
        "spec.engine.asyncScheduling",
    ),
    "8 bits on marlin": (
        {"engine": {"mxfp8Activations": True, "moeBackend": "marlin"}},
        "spec.engine.mxfp8Activations",
    ),
    "memory of the cache twice": (
        {"engine": {"kvCacheMemory": "8Gi", "gpuMemoryUtilization": 0.9}},
        "spec.engine.kvCacheMemory",
    ),
    "restarted before it is left alone": (
        {"health": {"stallSeconds": 60, "restartSeconds": 30}},
        "spec.health.restartSeconds",
    ),
    "type and memory of a GPU": ({"gpu": {"type": "H200", "memory": "80Gi"}}, "spec.gpu.memory"),
    "a claim twice": (
        {"cache": {"persistentVolumeClaim": {"claimName": "x", "size": "1Gi"}}},
        "spec.cache.persistentVolumeClaim",
    ),
    "two caches": ({"cache": {"hostPath": {"path": "/x"}, "ephemeral": {}}}, "spec.cache"),
    "our variable": ({"pod": {"env": [{"name": "GPTOSS_SERVER", "value": "{}"}]}}, "spec.pod.env[0].name"),
    "variable without value": ({"pod": {"env": [{"name": "X"}]}}, "spec.pod.env[0]"),
    "memory that is no quantity": ({"pod": {"resources": {"memory": "lots"}}}, "spec.pod.resources.memory"),
    "unknown strategy": ({"routing": {"strategy": "Random"}}, "spec.routing.strategy"),
    "more at least than at most": ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "spec.scaling.maxReplicas"),
    "none at most": ({"scaling": {"minReplicas": 0, "maxReplicas": 0}}, "spec.scaling.maxReplicas"),
    "a schedule without bounds": ({"scaling": {"schedules": [{"name": "x"}]}}, "spec.scaling.schedules[0]"),
    "a schedule with its bounds the wrong way round": (
        {"scaling": {"schedules": [{"name": "x", "minReplicas": 3, "maxReplicas": 2}]}},
        "spec.scaling.schedules[0].maxReplicas",
    ),
    "a time that is none": (
        {"scaling": {"schedules": [{"name": "x", "minReplicas": 1, "start": "24:30"}]}},
        "spec.scaling.schedules[0].start",
    ),
    "two schedules of one name": (
        {"scaling": {"schedules": [{"name": "x", "minReplicas": 1}, {"name": "x", "minReplicas": 2}]}},
        "spec.scaling.schedules[1]",
    ),
    "a pool of any nodes": ({"gpu": {"pools": [{"name": "x", "nodeSelector": {}}]}}, "spec.gpu.pools[0].nodeSelector"),
    "a price in words": ({"prices": [{"capacityType": "Spot", "gpuHour": "cheap"}]}, "spec.prices[0].gpuHour"),
    "a price of nothing": ({"prices": [{"gpuHour": "1"}]}, "spec.prices[0].capacityType"),
    "an unknown mode": ({"mode": "Passive"}, "spec.mode"),
    "an unknown fallback": ({"spot": {"fallback": "Maybe"}}, "spec.spot.fallback"),
    "unknown field": ({"replicsa": 1}, "replicsa"),
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_object_is_refused_with_the_name_of_the_field(user: Kubectl, name: str) -> None:
    spec, field = INVALID[name]
    with pytest.raises(KubectlError) as refused:
        user.apply(deployment(**spec))
    assert field in str(refused.value)


def test_a_name_that_services_cannot_have_is_refused(user: Kubectl) -> None:
    for name in ("x" * 41, "1chat", "chat.one"):
        with pytest.raises(KubectlError, match=r"metadata\.name"):
            user.apply({**deployment(), "metadata": {"name": name}})


@pytest.mark.usefixtures("collected", "running")
def test_an_object_becomes_a_fleet_that_can_be_scaled_and_leaves_nothing(user: Kubectl) -> None:
    user.apply(deployment(replicas=2))
    obj = settle(user)
    assert obj["status"]["ready"] == "2/2"
    assert "finalizers" not in obj["metadata"]
    managed = user.json("get", "gptoss", "chat", "--show-managed-fields")["metadata"]["managedFields"]
    ours = [entry["subresource"] for entry in managed if entry["manager"] == "gptoss-operator"]
    assert ours == ["status"], "the operator writes nothing else of the user's object"
    assert sorted(children(user, "chat")) == [
        ("ConfigMap", "chat-gateway"),
        ("Deployment", "chat-gateway"),
        ("PodDisruptionBudget", "chat-gateway"),
        ("PodDisruptionBudget", "chat-replicas"),
        ("Service", "chat"),
        ("Service", "chat-gateways"),
        ("Service", "chat-replicas"),
        ("StatefulSet", "chat-r0"),
        ("StatefulSet", "chat-r1"),
    ]

    user("scale", "gptoss", "chat", "--replicas=3")
    assert settle(user)["status"]["ready"] == "3/3"
    user("delete", "pod", "chat-r0-0")
    assert settle(user)["status"]["ready"] == "3/3"
    user("scale", "gptoss", "chat", "--replicas=1")
    assert settle(user)["status"]["ready"] == "1/1"

    described = user("describe", "gptoss", "chat")
    assert "Remove chat-r1, chat-r2: 1 replica is asked for" in described
    assert "Warning" not in described, "a pod that is replaced is no problem"

    user("delete", "gptoss", "chat", "--timeout=30s")
    eventually(lambda: not children(user, "chat"), "everything is gone")
    eventually(lambda: not user.items("pods"), "all pods are gone")


@pytest.mark.usefixtures("running")
def test_what_others_change_or_delete_is_put_right(user: Kubectl) -> None:
    user.apply(deployment(replicas=2))
    settle(user)
    right = children(user, "chat")
    changes = {
        "service/chat": {"spec": {"ports": [{"name": "http", "port": 1234, "protocol": "TCP"}]}},
        "configmap/chat-gateway": {"data": {"haproxy.cfg": "nonsense"}},
        "statefulset/chat-r0": {"spec": {"replicas": 0}},
        "deployment/chat-gateway": {"spec": {"replicas": 0}},
        "poddisruptionbudget/chat-replicas": {"spec": {"maxUnavailable": 100}},
        "service/chat-replicas": {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}},
        "statefulset/chat-r1": {"metadata": {"labels": {"gptoss.dev/deployment": None}}},
    }
    for target, change in changes.items():
        user("patch", target, "--type=merge", "-p", json.dumps(change))
    eventually(lambda: children(user, "chat") == right, "every change is undone")
    for target in changes:
        user("delete", target, "--wait=false")
    eventually(lambda: same_kinds(children(user, "chat"), right), "everything deleted is back")
    assert settle(user)["status"]["ready"] == "2/2"


def same_kinds(found: dict[tuple[str, str], Any], right: dict[tuple[str, str], Any]) -> bool:
    """Whether all is there. A replica may have another slot: its old pod may still leave when it is replaced."""
    replicas = {key for key in found if key[0] == "StatefulSet"}
    others = {key: value for key, value in found.items() if key not in replicas}
    return len(replicas) == 2 and others == {key: value for key, value in right.items() if key[0] != "StatefulSet"}


@pytest.mark.usefixtures("running")
def test_fields_that_others_own_stay(user: Kubectl) -> None:
    user.apply(deployment())
    settle(user)
    user("annotate", "service/chat", "example.com/mine=yes")
    user("patch", "gptoss", "chat", "--type=merge", "-p", '{"spec":{"replicas":2}}')
    settle(user)
    assert user.json("get", "service", "chat")["metadata"]["annotations"]["example.com/mine"] == "yes"


@pytest.mark.usefixtures("running")
def test_a_service_of_somebody_else_is_left_alone_and_named(user: Kubectl) -> None:
    theirs = {"ports": [{"port": 80}], "selector": {"app": "theirs"}}
    user.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": theirs})
    user.apply(deployment())
    refused = until(
        user,
        "chat",
        lambda o: condition(o, "Accepted")["status"] == "False",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )
    assert condition(refused, "Accepted")["reason"] == "NameTaken"
    assert "Service chat" in condition(refused, "Accepted")["message"]
    assert condition(refused, "Stalled")["status"] == "True"
    assert user.json("get", "service", "chat")["spec"]["selector"] == {"app": "theirs"}
    user("delete", "service", "chat")
    eventually(lambda: settled(user.json("get", "gptoss", "chat")), "it goes on when the name is free", seconds=330)


@pytest.mark.usefixtures("running")
def test_pods_that_the_cluster_refuses_are_explained(user: Kubectl) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods"},
        "spec": {"hard": {"pods": "0"}},
    }
    user.apply(quota)
    user.apply(deployment())
    obj = until(
        user,
        "chat",
        lambda o: condition(o, "Degraded")["reason"] == "PodNotCreated",
        timeout_seconds=30,
        show=False,
    )
    assert "kubectl describe statefulset chat-r0" in condition(obj, "Degraded")["message"]


def test_a_settled_object_causes_no_writes_and_a_restart_changes_nothing(
    installed: Cluster, user: Kubectl, namespace: str, tmp_path: Path
) -> None:
    user.apply(deployment(replicas=2))
    strike = Strike()
    with proxied(installed, tmp_path, strike) as kubeconfig:
        with OperatorProcess(installed, namespace, tmp_path / "1.log", kubeconfig=kubeconfig) as operator:
            settle(user)
            written, passes = len(strike.writes), operator.quiet_passes()
            user("annotate", "gptoss", "chat", "example.com/look=again")
            eventually(lambda: operator.quiet_passes() > passes, "a pass that writes nothing")
            assert len(strike.writes) == written
            assert operator.stop() == 0
        before = user.items(f"{KINDS},pods", "-l", "gptoss.dev/deployment=chat")
        with OperatorProcess(installed, namespace, tmp_path / "2.log", kubeconfig=kubeconfig):
            user("scale", "gptoss", "chat", "--replicas=3")
            settle(user)
        after = user.items(f"{KINDS},pods", "-l", "gptoss.dev/deployment=chat")
    generations = {item["metadata"]["uid"]: item["metadata"].get("generation") for item in after}
    assert {item["metadata"]["uid"] for item in before} <= generations.keys()
    assert all(generations[item["metadata"]["uid"]] == item["metadata"].get("generation") for item in before)
    assert "Traceback" not in (tmp_path / "1.log").read_text()


@pytest.fixture(scope="session")
def fault_free(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[Any, Any], list[str]]:
    """What an undisturbed first apply ends in, and the writes that it takes."""
    kubectl = Kubectl(installed, "fault-free")
    kubectl("create", "namespace", "fault-free")
    directory = tmp_path_factory.mktemp("fault-free")
    strike = Strike()
    kubectl.apply(deployment(replicas=2))
    with (
        proxied(installed, directory, strike) as kubeconfig,
        OperatorProcess(installed, "fault-free", directory / "operator.log", kubeconfig=kubeconfig),
    ):
        settle(kubectl)
        return children(kubectl, "chat"), list(strike.writes)


@pytest.mark.parametrize("write", range(FIRST_APPLY_WRITES + 1))
def test_killed_at_any_write_of_the_first_apply_it_ends_in_the_same_state(
    installed: Cluster, namespace: str, fault_free: tuple[dict[Any, Any], list[str]], tmp_path: Path, write: int
) -> None:
    """Killed when the API server has done a write and before the operator knows; for 0, before the first write.

    Killed before write n+1 is the same state as killed after write n.
    """
    expected, writes = fault_free
    assert len(writes) >= FIRST_APPLY_WRITES
    user = Kubectl(installed, namespace)
    user.apply(deployment(replicas=2))
    strike = Strike(at=max(write, 1), before=write == 0)
    with proxied(installed, tmp_path, strike) as kubeconfig:
        operator = OperatorProcess(installed, namespace, tmp_path / "killed.log", kubeconfig=kubeconfig)
        strike.act = operator.process.kill
        operator.process.wait(timeout=SETTLE_SECONDS)
    assert len(strike.writes) >= strike.at
    with OperatorProcess(installed, namespace, tmp_path / "again.log"):
        settle(user)
        assert anywhere(children(user, "chat"), namespace) == anywhere(expected, "fault-free")


def anywhere(found: dict[tuple[str, str], Any], namespace: str) -> str:
    """Return the objects as one text in which the namespace, and the digest of what holds it, do not show."""
    text = json.dumps([found[key] for key in sorted(found)], sort_keys=True).replace(namespace, "NAMESPACE")
    return re.sub(r'"gptoss.dev/config": "\w+"', '"gptoss.dev/config": "DIGEST"', text)
