"""What the gateway needs of the cluster, on a real API server: new keys, missing Secrets, an InferencePool."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from e2e.watch import condition, until
from gptoss_operator.errors import KubernetesError
from gptoss_operator.shell.kube import Kube
from tests.integration.asking import SETTLE_SECONDS, deployment, settle
from tests.integration.granted import granted
from tests.integration.operator_process import OperatorProcess
from tests.integration.proxy import Strike, proxied
from tests.integration.tls import let_connections_end


POOL_CRD = Path(__file__).parent / "inferencepools.yaml"
POOLS = "inferencepools.inference.networking.k8s.io"
KEYS = {"apiKeys": {"secretName": "keys"}}
POOL = {"inferencePool": {"endpointPickerName": "picker"}}
SECRET_VALUE = "a-key-that-nobody-else-may-see"
RETRY_SECONDS = 60
"""What was refused is tried again after 30 s."""


@pytest.fixture
def pools(installed: Cluster) -> Iterator[Kubectl]:
    """A cluster that has InferencePools, for as long as the test takes."""
    kubectl = Kubectl(installed, "default")
    install_pools(kubectl)
    yield kubectl
    kubectl("delete", "crd", POOLS)


def install_pools(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", str(POOL_CRD))
    kubectl("wait", "--for=condition=Established", f"crd/{POOLS}", "--timeout=30s")


def create_keys(user: Kubectl, value: str = SECRET_VALUE) -> None:
    user("create", "secret", "generic", "keys", f"--from-literal=team-a={value}")


def told(user: Kubectl) -> dict[str, str | None]:
    """Return of which version of the keys each gateway pod was told, by uid."""
    pods = user.items("pods", "-l", "app.kubernetes.io/component=gateway")
    return {p["metadata"]["uid"]: p["metadata"]["annotations"].get("gptoss.dev/keys") for p in pods}


def version_of_keys(user: Kubectl) -> str:
    version: str = user.json("get", "secret", "keys")["metadata"]["resourceVersion"]
    return version


def all_told(user: Kubectl) -> bool:
    return len(told(user)) == 2 and set(told(user).values()) == {version_of_keys(user)}


def change_keys(user: Kubectl, value: str) -> None:
    encoded = base64.b64encode(value.encode()).decode()
    user("patch", "secret", "keys", "--type=merge", "-p", f'{{"data":{{"team-a":"{encoded}"}}}}')


@pytest.mark.parametrize("rights", ["all", "the chart's"])
def test_gateway_pods_are_told_of_new_keys_and_stay(
    installed: Cluster, user: Kubectl, namespace: str, tmp_path: Path, rights: str
) -> None:
    create_keys(user)
    user.apply(deployment(routing=KEYS))
    with granted(installed, namespace, tmp_path) as kubeconfig:
        chosen = kubeconfig if rights == "the chart's" else None
        with OperatorProcess(installed, namespace, tmp_path / "operator.log", kubeconfig=chosen):
            settle(user)
            eventually(lambda: all_told(user), "every gateway pod was told of the keys")
            before = told(user)
            change_keys(user, "another-key-of-16-characters")
            eventually(lambda: all_told(user), "every gateway pod was told of the new keys")
            assert told(user).keys() == before.keys(), "no pod was replaced"
            assert set(told(user).values()) != set(before.values())


def test_without_the_right_to_see_secrets_all_goes_on_and_nothing_is_said_of_them(
    installed: Cluster, user: Kubectl, namespace: str, tmp_path: Path
) -> None:
    user.apply(deployment(routing=KEYS))
    with (
        granted(installed, namespace, tmp_path, "rbac.watchSecrets=false") as kubeconfig,
        OperatorProcess(installed, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig),
    ):
        obj = settle(user)
    assert condition(obj, "Degraded")["status"] == "False"
    assert set(told(user).values()) == {None}
    log = (tmp_path / "operator.log").read_text()
    assert log.count("secrets is forbidden") == 1, "said once"


@pytest.mark.usefixtures("running")
def test_a_missing_secret_is_named_until_it_is_there(user: Kubectl) -> None:
    user.apply(deployment(routing=KEYS))
    obj = until(
        user,
        "chat",
        lambda o: condition(o, "Degraded")["reason"] == "SecretNotFound",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )
    assert condition(obj, "Degraded")["message"].startswith("Secret keys does not exist: create it")
    assert condition(settle(user), "Accepted")["status"] == "True"
    create_keys(user)
    until(user, "chat", lambda o: condition(o, "Degraded")["status"] == "False", timeout_seconds=10, show=False)
    user("delete", "secret", "keys")
    until(user, "chat", lambda o: condition(o, "Degraded")["status"] == "True", timeout_seconds=10, show=False)


def test_the_contents_of_secrets_are_not_sent(api: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)
    create_keys(Kubectl(api, namespace))

    async def ask() -> bytes:
        kube = await Kube.connect()
        try:
            listed = await kube.list_page("Secret", namespace)
            watched = kube.watch("Secret", namespace, resource_version="0", server_seconds=1, silence_seconds=10)
            return listed + b"".join([line async for line in watched])
        finally:
            await kube.close()
            await let_connections_end()

    said = asyncio.run(ask())
    assert said.count(b'"name":"keys"') == 2
    assert SECRET_VALUE.encode() not in said
    assert base64.b64encode(SECRET_VALUE.encode()) not in said


def test_an_annotation_is_only_for_the_very_pod(api: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)
    user = Kubectl(api, namespace)
    user.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
    uid = user.json("get", "configmap", "x")["metadata"]["uid"]

    async def annotate(uid: str) -> None:
        kube = await Kube.connect()
        try:
            await kube.annotate("ConfigMap", namespace, "x", uid=uid, annotations={"example.com/a": "1"})
        finally:
            await kube.close()
            await let_connections_end()

    with pytest.raises(KubernetesError, match="uid"):
        asyncio.run(annotate("another"))
    assert "example.com/a" not in user.json("get", "configmap", "x")["metadata"].get("annotations", {})
    asyncio.run(annotate(uid))
    assert user.json("get", "configmap", "x")["metadata"]["annotations"]["example.com/a"] == "1"


def pool_of(user: Kubectl) -> dict[str, Any] | None:
    found = user.items(POOLS)
    return found[0] if found else None


@pytest.mark.parametrize("rights", ["all", "the chart's"])
def test_an_inference_pool_comes_and_goes_with_its_field(
    installed: Cluster, pools: Kubectl, user: Kubectl, namespace: str, tmp_path: Path, rights: str
) -> None:
    assert pools
    user.apply(deployment(routing=POOL))
    with granted(installed, namespace, tmp_path) as kubeconfig:
        chosen = kubeconfig if rights == "the chart's" else None
        with OperatorProcess(installed, namespace, tmp_path / "operator.log", kubeconfig=chosen):
            assert condition(settle(user), "Degraded")["status"] == "False"
            pool = pool_of(user)
            assert pool is not None
            assert pool["spec"]["targetPorts"] == [{"number": 8000}]
            assert pool["spec"]["endpointPickerRef"]["failureMode"] == "FailOpen"
            assert pool["metadata"]["ownerReferences"][0]["name"] == "chat"
            user("patch", POOLS, "chat-replicas", "--type=merge", "-p", '{"spec":{"targetPorts":[{"number":1}]}}')
            eventually(
                lambda: (pool_of(user) or pool)["spec"]["targetPorts"] == [{"number": 8000}], "the change is undone"
            )
            user(
                "patch", "gptoss", "chat", "--type=json", "-p", '[{"op":"remove","path":"/spec/routing/inferencePool"}]'
            )
            eventually(lambda: pool_of(user) is None, "the pool is gone")


@pytest.mark.usefixtures("running")
def test_a_cluster_without_inference_pools_is_told_and_gets_one_when_it_knows_them(user: Kubectl) -> None:
    user.apply(deployment(routing=POOL))
    obj = until(
        user,
        "chat",
        lambda o: condition(o, "Degraded")["reason"] == "KindNotInstalled",
        timeout_seconds=SETTLE_SECONDS,
        show=False,
    )
    assert "install its CustomResourceDefinition" in condition(obj, "Degraded")["message"]
    assert condition(settle(user), "Available")["status"] == "True"
    install_pools(user)
    try:
        eventually(lambda: pool_of(user) is not None, "the pool is made", seconds=RETRY_SECONDS)
        until(user, "chat", lambda o: condition(o, "Degraded")["status"] == "False", timeout_seconds=10, show=False)
    finally:
        user("delete", "crd", POOLS)


def test_settled_with_keys_and_a_pool_nothing_is_written(
    installed: Cluster, pools: Kubectl, user: Kubectl, namespace: str, tmp_path: Path
) -> None:
    assert pools
    create_keys(user)
    user.apply(deployment(routing={**KEYS, **POOL}))
    strike = Strike()
    with (
        proxied(installed, tmp_path, strike) as kubeconfig,
        OperatorProcess(installed, namespace, tmp_path / "1.log", kubeconfig=kubeconfig) as operator,
    ):
        settle(user)
        eventually(lambda: all_told(user), "every gateway pod was told of the keys")
        passes = operator.quiet_passes()
        user("annotate", "gptoss", "chat", "example.com/look=again")
        eventually(lambda: operator.quiet_passes() > passes, "a pass that writes nothing")
        written, passes = len(strike.writes), operator.quiet_passes()
        user("annotate", "gptoss", "chat", "example.com/look-again=yes")
        eventually(lambda: operator.quiet_passes() > passes, "another pass that writes nothing")
        assert strike.writes[written:] == []
