import ipaddress
import json
import os
import subprocess
import sys
import threading

import pytest
import yaml

from e2e.cluster import lifecycle
from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.cgroups import hierarchies, processes_in
from e2e.cluster.local.kwok import gpu_node
from e2e.cluster.local.netns import SIMULATED_POD_RANGE, mounts_below
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import in_namespace, lives, owned
from e2e.cluster.local.teardown import leftovers
from e2e.cluster.provider import Cluster, Tier


def stateful_set(name: str, replicas: int, gpus: int, node_selector: dict[str, str] | None = None) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "replicas": replicas,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "nodeSelector": node_selector or {},
                        "containers": [
                            {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
                        ],
                    },
                },
            },
        }
    )


def kubectl(cluster: Cluster, *words: str, given: str | None = None) -> str:
    return run([*cluster.kubectl(), *words], timeout_seconds=60, given=given)


def wait_for_ready(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    condition = f"--for=jsonpath={{.status.readyReplicas}}={replicas}"
    kubectl(cluster, "-n", namespace, "wait", f"statefulset/{name}", condition, "--timeout=30s")


def test_the_api_server_is_ready_and_of_the_version_of_its_clients(api: Cluster) -> None:
    versions = json.loads(kubectl(api, "version", "--output=json"))

    assert kubectl(api, "get", "--raw=/readyz") == "ok"
    assert versions["serverVersion"]["gitVersion"] == versions["clientVersion"]["gitVersion"]
    assert versions["serverVersion"]["gitVersion"].startswith("v1.")


def test_a_stateful_set_becomes_ready_on_simulated_gpus(api: Cluster, namespace: str) -> None:
    kubectl(api, "-n", namespace, "apply", "--filename=-", given=stateful_set("model", replicas=2, gpus=4))

    wait_for_ready(api, namespace, "model", 2)

    pods = json.loads(kubectl(api, "-n", namespace, "get", "pods", "--output=json"))["items"]
    addresses = [ipaddress.ip_address(pod["status"]["podIP"]) for pod in pods]
    assert len(set(addresses)) == 2
    assert all(address in ipaddress.ip_network(SIMULATED_POD_RANGE) for address in addresses)


def test_pods_wait_for_gpus_until_a_node_has_them(api: Cluster, namespace: str) -> None:
    zone = {"topology.kubernetes.io/zone": namespace}
    kubectl(api, "-n", namespace, "apply", "--filename=-", given=stateful_set("big", 1, 8, node_selector=zone))
    kubectl(api, "-n", namespace, "wait", "pod/big-0", "--for=condition=PodScheduled=False", "--timeout=30s")

    kubectl(
        api, "apply", "--filename=-", given=yaml.safe_dump(gpu_node(namespace, zone=namespace, capacity_type="spot"))
    )

    wait_for_ready(api, namespace, "big", 1)
    kubectl(api, "delete", "node", namespace)


def test_a_simulated_pod_is_reached_only_inside_the_cluster_s_network(api: Cluster, namespace: str) -> None:
    kubectl(api, "-n", namespace, "apply", "--filename=-", given=stateful_set("model", replicas=1, gpus=1))
    wait_for_ready(api, namespace, "model", 1)
    address = kubectl(api, "-n", namespace, "get", "pod", "model-0", "--output=jsonpath={.status.podIP}")
    listen = (
        "import socket; s = socket.create_server(('0.0.0.0', 8000)); print('up', flush=True);"
        "c, _ = s.accept(); c.sendall(c.getsockname()[0].encode())"
    )
    ask = f"import socket; print(socket.create_connection(('{address}', 8000), 5).recv(100).decode())"

    with subprocess.Popen(
        [*api.enter(), sys.executable, "-I", "-c", listen], stdout=subprocess.PIPE, text=True
    ) as simulator:
        assert simulator.stdout is not None
        assert simulator.stdout.readline() == "up\n"
        answer = run([*api.enter(), sys.executable, "-I", "-c", ask], timeout_seconds=20).strip()

    assert answer == address, "the simulator learns from the accepted socket which pod it plays"


def test_nothing_leaves_the_cluster_s_network(api: Cluster) -> None:
    ask = "import socket; socket.create_connection(('198.51.100.1', 80), 5)"

    with pytest.raises(ClusterError, match="Network is unreachable"):
        run([*api.enter(), sys.executable, "-I", "-c", ask], timeout_seconds=20)


def test_the_forwarder_keeps_a_watch_open_while_other_requests_pass(api: Cluster, namespace: str) -> None:
    argv = [*api.kubectl(), "-n", namespace, "get", "configmaps", "--watch", "--output=name"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        timer = threading.Timer(30, watch.kill)
        timer.start()
        kubectl(api, "-n", namespace, "create", "configmap", "first")
        seen = [watch.stdout.readline()]
        while seen[-1] not in {"configmap/first\n", ""}:
            seen.append(watch.stdout.readline())
        timer.cancel()
        watch.kill()

    assert seen[-1] == "configmap/first\n"


def test_a_second_cluster_lives_beside_the_first_and_leaves_nothing(api: Cluster) -> None:
    name = f"{api.name}-b"
    places = Places(name=name)

    second = lifecycle.up(name, Tier.API)
    kubectl(second, "create", "namespace", "only-here")
    assert "only-here" not in kubectl(api, "get", "namespaces", "--output=name")
    assert len(owned(name)) == 6, "forwarder, etcd, API server, controllers, scheduler, KWOK"
    lifecycle.down(name)

    assert leftovers(places) == []
    assert in_namespace(places.network) == []
    assert mounts_below(places.run) == []
    assert not [hierarchy for hierarchy in hierarchies() if (hierarchy / places.cgroup).exists()]
    assert lifecycle.find(name) is None
    assert kubectl(api, "get", "--raw=/readyz") == "ok", "the first cluster is not touched"


def test_up_removes_what_a_crash_left(api: Cluster) -> None:
    name = f"{api.name}-c"
    first = lifecycle.up(name, Tier.API)
    kubectl(first, "create", "namespace", "of-the-first")
    for process in owned(name):
        if process.role == "kube-apiserver":
            subprocess.run(["kill", "-KILL", str(process.pid)], check=True)

    second = lifecycle.up(name, Tier.API)

    assert "of-the-first" not in kubectl(second, "get", "namespaces", "--output=name")
    assert len(owned(name)) == 6
    lifecycle.down(name)
    assert leftovers(Places(name=name)) == []


def test_down_of_no_cluster_is_no_error() -> None:
    lifecycle.down("never-was", provider="local")

    assert leftovers(Places(name="never-was")) == []


@pytest.mark.usefixtures("node_programs")
def test_a_node_runs_pods_and_all_of_it_ends() -> None:
    name = f"it-{os.getpid()}-node"
    places = Places(name=name)

    cluster = lifecycle.up(name, Tier.NODE, provider="local")
    try:
        kubectl(cluster, "create", "namespace", "strict")
        kubectl(cluster, "label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
        kubectl(cluster, "-n", "strict", "create", "--filename=-", given=strict_pod(pause_name(cluster)))
        kubectl(cluster, "-n", "strict", "wait", "pod/calm", "--for=condition=Ready", "--timeout=60s")
        running = processes_in(places.cgroup)
        with pytest.raises(ClusterError, match="violates PodSecurity"):
            kubectl(cluster, "-n", "strict", "run", "wild", "--image=none")
    finally:
        lifecycle.down(name, provider="local")

    assert len(running) == 2, "the pod's own container and the one that holds its namespaces"
    assert leftovers(places) == []
    assert not any(lives(process) for process in running)


def pause_name(cluster: Cluster) -> str:
    names = run([*cluster.ctr_command(), "images", "ls", "--quiet"], timeout_seconds=30).split()
    return next(name for name in names if name.startswith("gptoss.local/pause:"))


def strict_pod(image: str) -> str:
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"nvidia.com/gpu": "2"}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "calm"},
            "spec": {"securityContext": security, "containers": [container]},
        }
    )
