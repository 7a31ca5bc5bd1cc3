import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from e2e.ports import free_ports
from gptoss_operator.errors import Conflict, KubernetesError, NotFound, Refused, SettingsError, Unavailable
from gptoss_operator.shell.kube import Kube
from gptoss_operator.shell.kube_errors import translate
from tests.shell.builders import an_object
from tests.shell.fake_api import Answer, FakeApi, a_failure


def ask(answer: Answer, call: Callable[[Kube], Awaitable[Any]]) -> tuple[Any, tuple[str, str, dict[str, str], Any]]:
    async def test() -> tuple[Any, tuple[str, str, dict[str, str], Any]]:
        fake = FakeApi(answer)
        async with fake.serve() as kube:
            result = await call(kube)
        return result, fake.asked[0]

    return asyncio.run(test())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Refused),
        (401, Unavailable),
        (403, Refused),
        (404, NotFound),
        (409, Conflict),
        (410, Conflict),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_each_status_becomes_one_error_with_the_servers_words(status: int, expected: type[KubernetesError]) -> None:
    body = b'{"kind": "Status", "message": "services \\"chat\\" is forbidden: quota exceeded"}'

    error = translate("apply /x", status, body, {})

    assert type(error) is expected
    assert str(error) == f'apply /x: services "chat" is forbidden: quota exceeded ({status})'


def test_the_servers_wish_when_to_come_back_is_kept() -> None:
    error = translate("list /x", 429, b"", {"Retry-After": "7"})

    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 7


def test_a_proxys_page_is_shown_in_part() -> None:
    assert "<html>bad gateway" in str(translate("list /x", 502, b"<html>bad gateway" + b"x" * 5000, {}))
    assert len(str(translate("list /x", 502, b"y" * 5000, {}))) < 300


def test_an_apply_is_forced_and_names_the_one_field_manager() -> None:
    service = an_object("Service", "chat")

    result, (method, path, query, body) = ask(Answer(body=service), lambda kube: kube.apply(service))

    assert result == service
    assert (method, path) == ("PATCH", "/api/v1/namespaces/demo/services/chat")
    assert query == {"fieldManager": "gptoss-operator", "force": "true"}
    assert body == service


def test_a_delete_names_the_very_object() -> None:
    _, (method, path, _, body) = ask(
        Answer(body={"kind": "Status"}),
        lambda kube: kube.delete("StatefulSet", "demo", "chat-r0", uid="u", resource_version="5"),
    )

    assert (method, path) == ("DELETE", "/apis/apps/v1/namespaces/demo/statefulsets/chat-r0")
    assert body["preconditions"] == {"uid": "u", "resourceVersion": "5"}
    assert body["propagationPolicy"] == "Background"


def test_an_annotation_is_for_the_very_object() -> None:
    _, (method, path, query, body) = ask(
        Answer(body={"kind": "Pod"}),
        lambda kube: kube.annotate("Pod", "demo", "chat-gateway-x", uid="u", annotations={"gptoss.dev/keys": "7"}),
    )

    assert (method, path) == ("PATCH", "/api/v1/namespaces/demo/pods/chat-gateway-x")
    assert query == {"fieldManager": "gptoss-operator"}
    assert body == {"metadata": {"uid": "u", "annotations": {"gptoss.dev/keys": "7"}}}


def test_a_refusal_says_what_was_tried() -> None:
    with pytest.raises(Refused, match=r"apply /api/v1/namespaces/demo/services/chat: no such port \(422\)"):
        ask(
            Answer(status=422, body=a_failure(422, "no such port")),
            lambda kube: kube.apply(an_object("Service", "chat")),
        )


def test_no_server_is_an_answer_too() -> None:
    async def test() -> None:
        (port,) = free_ports(1)
        kube = Kube(ApiClient(Configuration(host=f"http://127.0.0.1:{port}")))
        try:
            await kube.get("Service", "demo", "chat")
        finally:
            await kube.close()

    with pytest.raises(Unavailable, match="no answer from the API server"):
        asyncio.run(test())


def test_without_any_credentials_the_settings_are_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    with pytest.raises(SettingsError, match="set KUBECONFIG"):
        asyncio.run(Kube.connect())


def test_an_object_is_created_and_replaced_whole() -> None:
    lease = {"kind": "Lease", "metadata": {"namespace": "n", "name": "x"}}
    path = "/apis/coordination.k8s.io/v1/namespaces/n/leases"

    created, asked = ask(Answer(body={"made": 1}), lambda kube: kube.create(lease))
    assert (created, asked) == ({"made": 1}, ("POST", path, {}, lease))

    replaced, asked = ask(Answer(body={"made": 2}), lambda kube: kube.replace(lease))
    assert (replaced, asked) == ({"made": 2}, ("PUT", f"{path}/x", {}, lease))
