"""Records of revisions on a real API server, beside the ControllerRevisions that its own controllers make."""

import asyncio
import contextlib
from typing import Any

import pytest

from e2e.children import eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, Record
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.records import template_of
from gptoss_operator.errors import Refused
from gptoss_operator.shell import cluster as seen
from gptoss_operator.shell.children import child_of
from gptoss_operator.shell.kube import Kube
from gptoss_operator.shell.resources import REVISION
from tests.integration.test_shell_reflect import with_kube


@pytest.fixture(autouse=True)
def _use_the_cluster(api: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)


TEMPLATE: Manifest = {
    "metadata": {"labels": names.selector("chat", names.COMPONENT_REPLICA), "annotations": {"on": "true"}},
    "spec": {"containers": [{"name": "main", "image": "none", "env": [{"name": "B", "value": "1.0"}, {"name": "A"}]}]},
}


def a_record(namespace: str, revision: str, **data: Any) -> Manifest:  # noqa: ANN401  (a raw object)
    labels = names.identity("chat") | {names.LABEL_COMPONENT: names.COMPONENT_REVISION, names.LABEL_REVISION: revision}
    return {
        "apiVersion": "apps/v1",
        "kind": REVISION,
        "metadata": {"name": names.revision_record("chat", revision), "namespace": namespace, "labels": labels},
        "data": {"template": TEMPLATE | data},
        "revision": 2,
    }


def a_replica(namespace: str) -> Manifest:
    labels = names.identity("chat") | names.selector("chat", names.COMPONENT_REPLICA)
    template = TEMPLATE | {"metadata": {"labels": labels}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "chat-r0", "namespace": namespace, "labels": labels},
        "spec": {"replicas": 1, "serviceName": "x", "selector": {"matchLabels": labels}, "template": template},
    }


def test_records_of_revisions_are_reflected_and_those_of_the_statefulset_controller_are_not(
    api: Cluster, namespace: str
) -> None:
    user = Kubectl(api, namespace)

    async def test(kube: Kube) -> None:
        changed = asyncio.Event()
        cluster = seen.Cluster((namespace,), lambda _: changed.set())
        [reflector] = [one for one in cluster.reflectors(kube) if one.kind == REVISION]
        await kube.apply(a_replica(namespace))
        selector = f"-l={names.LABEL_COMPONENT}={names.COMPONENT_REPLICA},{names.LABEL_DEPLOYMENT}=chat"
        await asyncio.to_thread(
            eventually, lambda: len(user.items("controllerrevisions", selector)) == 1, "the controller has its own"
        )
        await kube.apply(a_record(namespace, "one"))
        task = asyncio.create_task(reflector.run())
        async with asyncio.timeout(30):
            await reflector.synced.wait()
            changed.clear()
            await kube.apply(a_record(namespace, "two", also=1))
            await changed.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

        assert {child.metadata.name: _template_of(child) for child in cluster.children[REVISION]} == {
            "chat-one": TEMPLATE,
            "chat-two": TEMPLATE | {"also": 1},
        }

    with_kube(test)


def _template_of(child: Child) -> Manifest | None:
    assert isinstance(child, Record)
    assert child.revision == 2
    return template_of(child)


def test_a_record_may_be_applied_again_and_never_changes(namespace: str) -> None:
    async def test(kube: Kube) -> None:
        first = child_of(REVISION, await kube.apply(a_record(namespace, "one")))
        again = child_of(REVISION, await kube.apply(a_record(namespace, "one")))
        assert again == first
        with pytest.raises(Refused, match="data"):
            await kube.apply(a_record(namespace, "one", also=1))
        # As somebody would who restores a backup, perhaps with its fields in another order.
        restored = child_of(REVISION, await kube.create(a_record(namespace, "two")))
        taken_up = child_of(REVISION, await kube.apply(a_record(namespace, "two")))
        assert taken_up.metadata.uid == restored.metadata.uid

    with_kube(test)
