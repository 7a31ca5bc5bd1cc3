"""The gateway's pod, Services and InferencePool: what they hold for each field of the spec."""

from typing import Any

import pytest

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.plan import make_plan
from gptoss_operator.core.render.gateway_pod import GatewayImages, activator_memory_mib, gateway_pod
from gptoss_operator.core.render.haproxy.files import leave_path
from gptoss_operator.core.render.inference_pool import pool_of_replicas
from tests.core.builders import NOW, OPTIONS, OWNER, a_body, seen


IMAGES = GatewayImages(haproxy="gateway:1", activator="activator:1")
KEYS = {"apiKeys": {"secretName": "keys"}}
TLS = {"tls": {"secretName": "cert"}}
FILTER = {"contentFilter": {"url": "http://guard/v1", "model": "guard", "policy": "be kind"}}
FILTER_WITH_KEY = {"contentFilter": {**FILTER["contentFilter"], "apiKeySecretName": "guard-key"}}


def a_spec(**fields: Any) -> GptOssSpec:  # noqa: ANN401 - a raw spec
    return GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, **fields})


def a_pod(**routing: Any) -> Manifest:  # noqa: ANN401 - a raw spec
    return gateway_pod(OWNER, a_spec(routing=routing), IMAGES, OPTIONS)


def containers(pod: Manifest) -> dict[str, Manifest]:
    return {container["name"]: container for container in (*pod["initContainers"], *pod["containers"])}


def mounted(pod: Manifest) -> dict[str, set[str]]:
    return {name: {m["mountPath"] for m in container["volumeMounts"]} for name, container in containers(pod).items()}


def test_sidecars_start_before_haproxy_the_activator_first() -> None:
    pod = a_pod()
    assert [c["name"] for c in pod["initContainers"]] == ["activator", "long-prompts"]
    assert {c["restartPolicy"] for c in pod["initContainers"]} == {"Always"}
    assert pod["initContainers"][0]["startupProbe"]["httpGet"] == {"path": "/healthz", "port": 8405}
    assert [c["name"] for c in pod["containers"]] == ["haproxy"]
    assert {name: c["image"] for name, c in containers(pod).items()} == {
        "activator": "activator:1",
        "long-prompts": "gateway:1",
        "haproxy": "gateway:1",
    }


def test_every_container_is_restricted_and_bounded() -> None:
    pod = a_pod(**KEYS, **TLS, **FILTER_WITH_KEY)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in containers(pod).values():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert all(m.get("readOnly") or m["mountPath"] == "/run/gptoss" for m in container["volumeMounts"])


def test_a_leaving_pod_is_left_by_its_clients_before_haproxy_stops() -> None:
    pod = gateway_pod(OWNER, a_spec(drainSeconds=7), IMAGES, OPTIONS)
    assert pod["containers"][0]["lifecycle"]["preStop"] == {"httpGet": {"path": leave_path(OWNER), "port": 8405}}
    assert pod["terminationGracePeriodSeconds"] == 10 + 7 + 5


def test_without_secrets_none_is_mounted() -> None:
    pod = a_pod(**FILTER)
    assert [volume["name"] for volume in pod["volumes"]] == ["config", "run"]
    assert set.union(*mounted(pod).values()) == {"/etc/gptoss", "/run/gptoss"}


def test_each_secret_goes_to_those_who_use_it() -> None:
    pod = a_pod(**KEYS, **TLS, **FILTER_WITH_KEY)
    volumes = {volume["name"]: volume.get("secret") for volume in pod["volumes"]}
    assert volumes["keys"] == {"secretName": "keys", "defaultMode": 0o440, "optional": True}
    assert volumes["tls"] == {"secretName": "cert", "defaultMode": 0o440}
    assert volumes["filter"] == {"secretName": "guard-key", "defaultMode": 0o440}
    everyone = {"/etc/gptoss", "/run/gptoss"}
    assert mounted(pod) == {
        "activator": everyone | {"/etc/gptoss-keys", "/etc/gptoss-tls", "/etc/gptoss-filter"},
        "long-prompts": everyone,
        "haproxy": everyone | {"/etc/gptoss-tls"},
    }


def test_the_run_directory_is_in_memory() -> None:
    assert {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in a_pod()["volumes"]


@pytest.mark.parametrize(
    ("routing", "more_mib"),
    [
        ({"hold": {"maxRequests": 0}}, -62),
        ({"hold": {"maxRequests": 17000}}, 1000),
        ({"cache": {"maxMegabytes": 800}}, 1000),
        ({"limits": {"maxBodyBytes": 8_000_000}}, 977),
    ],
)
def test_the_activators_memory_follows_from_what_it_may_hold(routing: dict[str, Any], more_mib: int) -> None:
    assert activator_memory_mib(a_spec(routing=routing)) == activator_memory_mib(a_spec()) + more_mib


def manifests(**spec: Any) -> dict[tuple[str, str], Manifest]:  # noqa: ANN401 - a raw spec
    return {(a.key.kind, a.key.name): a.manifest for a in make_plan(a_body(**spec), seen(), OPTIONS, NOW).applies}


def test_gateways_find_each_other_ready_or_not() -> None:
    service = manifests()["Service", "chat-gateways"]["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert service["selector"]["app.kubernetes.io/component"] == "gateway"
    assert {(port["protocol"], port["port"]) for port in service["ports"]} == {("TCP", 8405), ("UDP", 8406)}


@pytest.mark.parametrize(("routing", "scheme"), [({}, "http"), (TLS, "https")])
def test_clients_are_told_the_scheme(routing: dict[str, Any], scheme: str) -> None:
    plan = make_plan(a_body(routing=routing), seen(), OPTIONS, NOW)
    assert plan.status is not None
    assert plan.status.url == f"{scheme}://chat.demo.svc.cluster.local:8000/v1"
    (port,) = manifests(routing=routing)["Service", "chat"]["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == (scheme, 8000, 8080)


def test_the_pool_takes_the_replicas_and_goes_on_without_its_picker() -> None:
    spec = a_spec(routing={"inferencePool": {"endpointPickerName": "picker"}})
    assert spec.routing.inference_pool is not None
    pool = pool_of_replicas(OWNER, spec.routing.inference_pool)
    assert pool["metadata"]["name"] == "chat-replicas"
    assert pool["spec"] == {
        "selector": {"matchLabels": {"gptoss.dev/deployment": "chat", "app.kubernetes.io/component": "replica"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "picker", "port": {"number": 9002}, "failureMode": "FailOpen"},
    }
    assert ("InferencePool", "chat-replicas") not in manifests()


def test_an_image_of_the_users_own_is_taken() -> None:
    gateway = {"image": "mine:1", "activatorImage": "mine:2"}
    pod = manifests(routing={"gateway": gateway})["Deployment", "chat-gateway"]["spec"]["template"]["spec"]
    assert {c["image"] for c in pod["containers"]} == {"mine:1"}
    assert [c["image"] for c in pod["initContainers"]] == ["mine:2", "mine:1"]
