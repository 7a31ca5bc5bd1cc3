"""A process that dies right after, or right before, any of its writes; the next one knows nothing of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from e2e.cluster.commands import run
from e2e.cluster.provider import Cluster
from gptoss_operator.api import names
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.carry_out import Hands
from gptoss_operator.shell.cluster import Cluster as Seen
from gptoss_operator.shell.kube import Kube
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.reconcile import Reconciler
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from tests.integration.operator_process import ROOT, read


OPTIONS = RenderOptions(server_image="server:1", gateway_image="gateway:1")
CHILDREN = "statefulset,deployment,service,configmap,poddisruptionbudget"
MOST_LIVES = 40


class Died(BaseException):
    """The end of a process: nothing in the operator may catch it."""


class Mortal:
    """A connection that dies at its n-th write: before it is sent, or after it is done and before it is answered."""

    def __init__(self, kube: Kube, writes_left: int, *, after_commit: bool) -> None:
        self._kube = kube
        self._writes_left = writes_left
        self._after_commit = after_commit

    @contextlib.asynccontextmanager
    async def _write(self) -> AsyncIterator[None]:
        self._writes_left -= 1
        if self._writes_left <= 0 and not self._after_commit:
            raise Died
        yield
        if self._writes_left <= 0:
            raise Died

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        return await self._kube.get(kind, namespace, name)

    async def apply(self, manifest: Manifest) -> Manifest:
        async with self._write():
            return await self._kube.apply(manifest)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        async with self._write():
            return await self._kube.apply_status(manifest)

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str) -> Manifest:
        async with self._write():
            return await self._kube.delete(kind, namespace, name, uid=uid, resource_version=resource_version)

    async def create_event(self, event: Manifest) -> None:
        async with self._write():
            await self._kube.create_event(event)


async def live(kube: Kube, namespace: str, writes: int, *, after_commit: bool) -> bool:
    """Live one life: read everything, then make passes until there is nothing to write. Return whether it lived."""
    seen, bodies = Seen([namespace], lambda _key: None), Bodies()
    key = bodies.deliver(await kube.get(names.KIND, namespace, "chat"))
    hands = Hands(writer=Mortal(kube, writes, after_commit=after_commit), cluster=seen, bodies=bodies, ledger=Ledger())
    telemetry = Telemetry()
    reconciler = Reconciler(hands=hands, options=OPTIONS, telemetry=telemetry, exists=lambda _key, _uid: True)
    reflectors = seen.reflectors(kube)
    tasks = [asyncio.create_task(reflector.run()) for reflector in reflectors]
    try:
        async with asyncio.timeout(30):
            for reflector in reflectors:
                await reflector.synced.wait()
            while not is_settled(bodies, key) or not quiet(telemetry):
                await reconciler.reconcile_once(key)
                await asyncio.sleep(0.05)
    except Died:
        return False
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return True


def quiet(telemetry: Telemetry) -> bool:
    return bool(telemetry.registry.get_sample_value("gptoss_operator_reconcile_total", {"result": "quiet"}))


def is_settled(bodies: Bodies, key: Key) -> bool:
    body = bodies.get(key) or {}
    found = {condition["type"]: condition for condition in body.get("status", {}).get("conditions", [])}
    return bool(found) and found["Available"]["status"] == "True" and found["Progressing"]["reason"] == "Settled"


@pytest.mark.parametrize("after_commit", [False, True], ids=["before it is sent", "before it is answered"])
def test_a_death_at_any_write_ends_in_the_same_state(
    api: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch, *, after_commit: bool
) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)
    run([*api.kubectl(), "apply", "--server-side", "-f", str(ROOT / "crds")], timeout_seconds=30)
    run([*api.kubectl(), "wait", "--for=condition=Established", "crd/gptossdeployments.gptoss.dev"], timeout_seconds=30)
    chat = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"model": {"name": "gpt-oss-20b"}, "replicas": 2},
    }

    async def test() -> int:
        kube = await Kube.connect()
        try:
            await kube.apply(chat)
            for writes in range(1, MOST_LIVES):
                if await live(kube, namespace, writes, after_commit=after_commit):
                    return writes
            raise AssertionError("it never settled")
        finally:
            await kube.close()

    deaths = asyncio.run(test())

    assert deaths > 8, "every child's write was once the last"
    found = read(api, namespace, CHILDREN, "-l", f"{names.LABEL_DEPLOYMENT}=chat")["items"]
    assert sorted(f"{item['kind']} {item['metadata']['name']}" for item in found) == [
        "ConfigMap chat-gateway",
        "Deployment chat-gateway",
        "PodDisruptionBudget chat-gateway",
        "PodDisruptionBudget chat-replicas",
        "Service chat",
        "Service chat-replicas",
        "StatefulSet chat-r0",
        "StatefulSet chat-r1",
    ]
    assert all(item["metadata"].get("generation", 1) == 1 for item in found), "nothing was written differently twice"
