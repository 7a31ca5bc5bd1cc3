"""Manifests: what they hold for each field of the spec."""

from typing import Any

import pytest

from gptoss_operator.api.spec import AUTO, GptOssSpec, most_replicas_at_once
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.haproxy.lanes import slots
from gptoss_operator.core.render.pod import pod_template
from gptoss_operator.core.render.statefulset import Berth, replica_set
from gptoss_runtime.orders import ServerOrders, WeightsOrder
from tests.core.builders import OPTIONS, OWNER
from tests.core.golden import GOLDEN, GOLDEN_SPOT, manifests, spot_manifests


def a_spec(**fields: Any) -> GptOssSpec:  # noqa: ANN401 - a raw spec
    return GptOssSpec.model_validate({"model": {"name": "gpt-oss-20b"}, **fields})


def a_pod_spec(**fields: Any) -> Manifest:  # noqa: ANN401 - a raw spec
    wanted = a_spec(**fields)
    parallel = 1 if wanted.tensor_parallel == AUTO else wanted.tensor_parallel
    spec: Manifest = pod_template(OWNER.name, wanted, "server:1", parallel, OPTIONS)["spec"]
    return spec


def orders_of(pod: Manifest) -> ServerOrders:
    (document,) = (e["value"] for e in pod["containers"][0]["env"] if e["name"] == "GPTOSS_SERVER")
    return ServerOrders.decode(document)


def test_orders_follow_from_the_spec() -> None:
    pod = a_pod_spec(
        tensorParallel=4,
        drainSeconds=7,
        engine={"maxModelLen": 4096, "maxNumSeqs": 16, "gpuMemoryUtilization": 0.9, "extraArgs": ["--enforce-eager"]},
    )
    assert orders_of(pod) == ServerOrders(
        model="/cache/weights/openai--gpt-oss-20b-719424f1",
        weights=WeightsOrder(source="hf://openai/gpt-oss-20b", directory="/cache/weights/openai--gpt-oss-20b-719424f1"),
        served_names=("openai/gpt-oss-20b",),
        tensor_parallel_size=4,
        max_model_len=4096,
        max_num_seqs=16,
        gpu_memory_utilization=0.9,
        built_in_prompts=("Harmony", "ToolCall"),
        extra_args=("--enforce-eager",),
        drain_seconds=7,
        endpoint_grace_seconds=3,
    )
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert pod["terminationGracePeriodSeconds"] == 3 + 7 + 30


def test_a_claim_is_mounted_read_only_and_its_path_is_the_model() -> None:
    pod = a_pod_spec(model={"source": {"persistentVolumeClaim": {"claimName": "weights", "path": "tiny"}}})
    orders = orders_of(pod)
    assert (orders.model, orders.served_names) == ("/models/tiny", ("chat",))
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}} in pod["volumes"]
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_a_token_reaches_the_server_as_a_reference_only() -> None:
    token = {"name": "hub", "key": "token"}
    source = {"huggingFace": {"repository": "me/mine", "revision": "abc", "tokenSecretRef": token}}
    pod = a_pod_spec(model={"source": source})
    order = orders_of(pod).weights
    assert order is not None
    assert (order.source, order.revision, order.directory) == ("hf://me/mine", "abc", orders_of(pod).model)
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}} in pod["containers"][0]["env"]


def test_pods_are_restricted() -> None:
    pod = a_pod_spec()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_users_labels_do_not_replace_ours() -> None:
    template = pod_template(
        OWNER.name, a_spec(pod={"labels": {"team": "a", "gptoss.dev/deployment": "other"}}), "server:1", 1, OPTIONS
    )
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["gptoss.dev/deployment"] == "chat"


def test_every_slot_says_its_revision_and_which_requests_it_gets() -> None:
    template = pod_template(OWNER.name, a_spec(), "server:1", 1, OPTIONS)
    sets = [replica_set(OWNER, template, Berth(slot=slot, revision="one", share=25)) for slot in range(3)]
    assert {s["metadata"]["labels"]["gptoss.dev/revision"] for s in sets} == {"one"}
    assert {s["metadata"]["annotations"]["gptoss.dev/traffic"] for s in sets} == {"25"}
    assert {s["spec"]["template"]["metadata"]["annotations"]["gptoss.dev/traffic"] for s in sets} == {"25"}


def test_the_example_becomes_what_it_became_before() -> None:
    assert manifests() == GOLDEN.read_text(), "if meant: python -m tests.core.golden, and say so in CHANGELOG.md"


def test_replicas_on_spot_machines_become_what_they_became_before() -> None:
    assert spot_manifests() == GOLDEN_SPOT.read_text(), "if meant: python -m tests.core.golden, and say so"


@pytest.mark.parametrize(("replicas", "expected"), [(0, 32), (24, 32), (25, 64), (1000, 1024)])
def test_gateways_restart_for_more_slots_only_when_they_run_out(replicas: int, expected: int) -> None:
    assert slots(replicas) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": 1000}, 1024),
        ({"scaling": {"maxReplicas": 12}}, 32),
        ({"scaling": {"maxReplicas": 12}, "spot": {"enabled": True}}, 64),
        ({"scaling": {"maxReplicas": 600}, "spot": {"enabled": True}}, 1024),
        ({"scaling": {"maxReplicas": 1000}, "spot": {"enabled": True}}, 1024),
        ({"scaling": {"maxReplicas": 2, "schedules": [{"name": "x", "maxReplicas": 40}]}}, 128),
    ],
)
def test_gateways_have_room_for_all_replicas_that_there_may_ever_be(spec: dict[str, Any], expected: int) -> None:
    assert slots(most_replicas_at_once(a_spec(**spec))) == expected
