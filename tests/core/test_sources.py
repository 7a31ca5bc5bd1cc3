"""Where replicas find their weights, for each source and each cache."""

import re
from typing import Any

import pytest

from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.pod import pod_template
from gptoss_operator.core.render.weights import cache_claim, weights_job
from gptoss_operator.core.sources import Fetch, model_reference, weights_for_job, weights_for_server
from gptoss_runtime.orders import ServerOrders
from tests.core.builders import OPTIONS, OWNER


STREAM = {"load": {"format": "runai_streamer"}}
BUCKET = {"url": "s3://bucket/models/gpt-oss-20b", "endpoint": "http://minio:9000", "secretName": "store"}
CLAIM = {"persistentVolumeClaim": {"claimName": "weights"}}


def a_spec(source: dict[str, Any] | None = None, **fields: Any) -> GptOssSpec:  # noqa: ANN401 - a raw spec
    model = {"name": "gpt-oss-20b"} | ({"source": source} if source else {})
    return GptOssSpec.model_validate({"model": model, **fields})


def a_pod(spec: GptOssSpec) -> Manifest:
    pod: Manifest = pod_template(OWNER.name, spec, "server:1", 1, OPTIONS)["spec"]
    return pod


def orders_of(pod: Manifest) -> ServerOrders:
    (document,) = (e["value"] for e in pod["containers"][0]["env"] if e["name"] == "GPTOSS_SERVER")
    return ServerOrders.decode(document)


def volume_of(pod: Manifest, name: str) -> Manifest:
    (volume,) = (v for v in pod["volumes"] if v["name"] == name)
    return {key: value for key, value in volume.items() if key != "name"}


def a_job(spec: GptOssSpec, image: str = "server:1") -> Manifest:
    order = weights_for_job(spec)
    assert order is not None
    return weights_job(OWNER, spec, image, Fetch(order=order, claim="weights", claim_uid=""), OPTIONS)


@pytest.mark.parametrize(
    ("source", "directory"),
    [
        ({"huggingFace": {"repository": "openai/gpt-oss-20b"}}, "openai--gpt-oss-20b"),
        ({"huggingFace": {"repository": "me/" + "x" * 150}}, f"me--{'x' * 60}"),
        ({"objectStore": {"url": "s3://bucket/gpt-oss-20b/"}}, "bucket--gpt-oss-20b"),
        ({"objectStore": {"url": "gs://bucket/a/b/c"}}, "b--c"),
        ({"objectStore": {"url": "https://me:secret@host/weights/my%20model?sig=secret"}}, "weights--my-20model"),
        ({"objectStore": {"url": "https://me:secret@host"}}, "host"),
    ],
)
def test_fetched_weights_have_a_directory_whose_name_says_what_they_are(source: dict[str, Any], directory: str) -> None:
    found = model_reference(a_spec(source))
    assert re.fullmatch(re.escape(f"/cache/weights/{directory}-") + r"[0-9a-f]{8}", found)
    assert "secret" not in found


def test_each_source_revision_and_mirror_has_a_directory_of_its_own() -> None:
    sources: list[dict[str, Any]] = [
        {"huggingFace": {"repository": "me/mine"}},
        {"huggingFace": {"repository": "me/mine", "revision": "v1"}},
        {"huggingFace": {"repository": "me/mine", "endpoint": "https://mirror"}},
        {"objectStore": {"url": "s3://me/mine"}},
        {"objectStore": {"url": "gs://me/mine"}},
    ]
    assert len({model_reference(a_spec(source)) for source in sources}) == len(sources)
    token = {"name": "hub", "key": "token"}
    with_token = {"huggingFace": {"repository": "me/mine", "tokenSecretRef": token}}
    assert model_reference(a_spec(with_token)) == model_reference(a_spec(sources[0])), "a token changes no weights"


def test_a_pods_own_cache_is_filled_by_its_server_and_has_no_compiled_kernels() -> None:
    spec = a_spec(cache={"ephemeral": {"sizeLimit": "30Gi"}})
    pod = a_pod(spec)
    assert volume_of(pod, "cache") == {"emptyDir": {"sizeLimit": "30Gi"}}
    orders = orders_of(pod)
    assert orders.weights == weights_for_server(spec)
    assert orders.weights is not None
    assert (orders.model, orders.compile_cache) == (orders.weights.directory, "")


def test_a_nodes_cache_is_filled_by_the_first_server_there() -> None:
    pod = a_pod(a_spec(cache={"hostPath": {"path": "/var/lib/gpt-oss"}}))
    assert volume_of(pod, "cache") == {"hostPath": {"path": "/var/lib/gpt-oss", "type": "DirectoryOrCreate"}}
    orders = orders_of(pod)
    assert orders.weights is not None
    assert orders.compile_cache == "/cache/compile"


def test_scratch_of_one_pod_is_not_in_the_shared_cache() -> None:
    pod = a_pod(a_spec(cache=CLAIM))
    values = [e["value"] for e in pod["containers"][0]["env"] if e["name"] != "GPTOSS_SERVER" and "value" in e]
    assert not [value for value in values if value.startswith("/cache")]


def test_weights_in_an_image_are_mounted_and_nothing_is_fetched() -> None:
    spec = a_spec({"image": {"reference": "registry/weights:1", "path": "gpt-oss-20b"}}, cache=CLAIM)
    pod = a_pod(spec)
    assert volume_of(pod, "model") == {"image": {"reference": "registry/weights:1", "pullPolicy": "IfNotPresent"}}
    assert (orders_of(pod).model, orders_of(pod).weights) == ("/models/gpt-oss-20b", None)
    assert weights_for_job(spec) is None


def test_an_object_store_is_fetched_from_with_the_secret_as_environment() -> None:
    pod = a_pod(a_spec({"objectStore": BUCKET}))
    order = orders_of(pod).weights
    assert order is not None
    assert (order.source, order.endpoint) == (BUCKET["url"], "http://minio:9000")
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_a_streamed_object_store_is_read_by_vllm_itself_even_beside_a_claim() -> None:
    spec = a_spec({"objectStore": BUCKET}, engine=STREAM, cache=CLAIM)
    pod = a_pod(spec)
    assert (orders_of(pod).model, orders_of(pod).weights) == (BUCKET["url"], None)
    assert weights_for_job(spec) is None
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert {"name": "AWS_ENDPOINT_URL", "value": "http://minio:9000"} in pod["containers"][0]["env"]


def test_what_the_streamer_cannot_read_is_fetched_and_streamed_from_the_cache() -> None:
    spec = a_spec({"objectStore": {"url": "https://host/gpt-oss-20b"}}, engine=STREAM)
    assert orders_of(a_pod(spec)).weights is not None


def test_a_draft_model_that_vllm_brings_itself_comes_from_the_same_hub() -> None:
    hub = {"repository": "me/mine", "endpoint": "https://mirror", "tokenSecretRef": {"name": "hub", "key": "token"}}
    draft = {"speculation": {"method": "eagle3", "model": "me/draft"}}
    needs = {"HF_TOKEN", "HF_ENDPOINT"}
    plain = a_pod(a_spec({"huggingFace": hub}, cache=CLAIM))
    assert not needs & {e["name"] for e in plain["containers"][0]["env"]}
    drafting = a_pod(a_spec({"huggingFace": hub}, cache=CLAIM, engine=draft))
    assert needs <= {e["name"] for e in drafting["containers"][0]["env"]}


def test_the_job_takes_no_gpu_and_runs_where_the_volume_can_be() -> None:
    gpu = {"nodeSelector": {"gpu": "h100"}, "tolerations": [{"key": "team", "operator": "Exists"}]}
    anywhere = a_job(a_spec(cache=CLAIM, gpu=gpu))["spec"]["template"]["spec"]
    assert "nodeSelector" not in anywhere
    assert anywhere["tolerations"] == a_pod(a_spec(gpu=gpu))["tolerations"]
    assert set(anywhere["containers"][0]["resources"]["limits"]) == {"memory"}
    one_node = {"persistentVolumeClaim": {"claimName": "weights", "accessMode": "ReadWriteOnce"}}
    assert a_job(a_spec(cache=one_node, gpu=gpu))["spec"]["template"]["spec"]["nodeSelector"] == {"gpu": "h100"}


def test_the_job_has_what_the_user_adds_to_pods() -> None:
    pod = {
        "labels": {"team": "a"},
        "annotations": {"sidecar.istio.io/inject": "false"},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "serviceAccountName": "reader",
        "imagePullSecrets": ["registry"],
        "priorityClassName": "high",
    }
    template = a_job(a_spec(cache=CLAIM, pod=pod))["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["annotations"] == pod["annotations"]
    spec = template["spec"]
    assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in spec["containers"][0]["env"]
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("reader", "high")
    assert spec["imagePullSecrets"] == [{"name": "registry"}]


def test_a_job_that_would_differ_has_another_name() -> None:
    job = a_job(a_spec(cache=CLAIM))
    assert a_job(a_spec(cache=CLAIM, replicas=7)) == job
    assert a_job(a_spec(cache=CLAIM), image="server:2")["metadata"]["name"] != job["metadata"]["name"]
    assert re.fullmatch(r"chat-weights-[0-9a-f]{10}", job["metadata"]["name"])


def test_a_claim_is_made_as_asked() -> None:
    claim = {"size": "80Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce"}
    wanted = a_spec(cache={"persistentVolumeClaim": claim}).cache.persistent_volume_claim
    assert wanted is not None
    made = cache_claim(OWNER, wanted)
    assert made["metadata"]["name"] == "chat-cache"
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "80Gi"}},
        "storageClassName": "fast",
    }
