"""The reflector and the calls of `Kube` on a real API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_operator.api import names
from gptoss_operator.api.status import Reason
from gptoss_operator.core.actions import Note
from gptoss_operator.core.objects import Child
from gptoss_operator.core.observation import ChildKey, Manifest, Owner
from gptoss_operator.errors import Conflict, NotFound, Refused
from gptoss_operator.shell.kube import Kube
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.notes import event_of
from gptoss_operator.shell.reflect import Reflector
from gptoss_operator.shell.store import Key, Store
from tests.integration.tls import let_connections_end


SELECTOR = f"{names.LABEL_DEPLOYMENT}=chat"


@pytest.fixture(autouse=True)
def _use_the_cluster(api: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig)


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Kube]:
    kube = await Kube.connect()
    try:
        yield kube
    finally:
        await kube.close()
        await let_connections_end()


class Restless:
    """A connection whose watches begin at chosen versions and are ended by the server after a second."""

    def __init__(self, kube: Kube, *begin_at: str) -> None:
        self.lists = 0
        self.watches: list[str] = []
        self._kube = kube
        self._begin_at = list(begin_at)

    async def list_page(
        self, kind: str, namespace: str | None, *, selector: str = "", limit: int = 500, page: str = ""
    ) -> bytes:
        self.lists += 1
        return await self._kube.list_page(kind, namespace, selector=selector, limit=limit, page=page)

    def watch(
        self,
        kind: str,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        server_seconds: float,
        silence_seconds: float,
    ) -> AsyncIterator[bytes]:
        assert server_seconds > 1
        version = self._begin_at.pop(0) if self._begin_at else resource_version
        self.watches.append(version)
        return self._kube.watch(
            kind,
            namespace,
            resource_version=version,
            selector=selector,
            server_seconds=1,
            silence_seconds=silence_seconds,
        )


@contextlib.asynccontextmanager
async def reflecting(
    source: Kube | Restless, namespace: str, store: Store[Child], kind: str = "ConfigMap"
) -> AsyncIterator[None]:
    reflector = Reflector(
        source,
        kind,
        Child,
        store,
        namespace=namespace,
        selector=SELECTOR,
        page_length=3,
        backoff_seconds=(0.05, 0.5),
    )
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(30):
        await reflector.synced.wait()
    yield
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def a_config_map(namespace: str, name: str, **data: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace, "labels": names.identity("chat")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


class Watched:
    """A store, and what a test waits for in it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.store: Store[Child] = Store(lambda _before, _after: self.changed.set())

    @property
    def versions(self) -> dict[str, str]:
        return {obj.metadata.name: obj.metadata.resource_version for obj in self.store}

    async def until(self, expected: dict[str, str]) -> None:
        async with asyncio.timeout(30):
            while self.versions != expected:
                self.changed.clear()
                await self.changed.wait()


async def create_some(kube: Kube, namespace: str, count: int) -> dict[str, str]:
    versions = {}
    for number in range(count):
        made = await kube.apply(a_config_map(namespace, f"m{number}", text="first"))
        versions[made["metadata"]["name"]] = made["metadata"]["resourceVersion"]
    return versions


def with_kube(test: Callable[[Kube], Awaitable[None]]) -> None:
    async def connect_and_test() -> None:
        async with connected() as kube:
            await test(kube)

    asyncio.run(connect_and_test())


def test_lists_in_pages_and_follows_changes(namespace: str) -> None:
    async def test(kube: Kube) -> None:
        expected, watched = await create_some(kube, namespace, 7), Watched()
        source = Restless(kube)
        async with reflecting(source, namespace, watched.store):
            assert watched.versions == expected
            assert source.lists == 3

            changed = await kube.apply(a_config_map(namespace, "m1", text="second"))
            expected["m1"] = changed["metadata"]["resourceVersion"]
            uid = (await kube.get("ConfigMap", namespace, "m2"))["metadata"]["uid"]
            await kube.delete("ConfigMap", namespace, "m2", uid=uid, resource_version=expected.pop("m2"))
            unlabelled = a_config_map(namespace, "m3", text="first")
            del unlabelled["metadata"]["labels"]
            await kube.apply(unlabelled)
            del expected["m3"]

            await watched.until(expected)
            assert len(watched.store.part_of(Key(namespace, "chat"))) == len(expected)

    with_kube(test)


@pytest.mark.usefixtures("installed")
def test_a_position_that_the_server_has_forgotten_means_to_list_again(namespace: str) -> None:
    # The server remembers nothing of a custom resource from before it was defined.
    chat: Manifest = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "chat", "namespace": namespace, "labels": names.identity("chat")},
        "spec": {"model": {"name": "gpt-oss-20b"}, "replicas": 1},
    }

    async def test(kube: Kube) -> None:
        await kube.apply(chat)
        watched = Watched()
        source = Restless(kube, "1")
        async with reflecting(source, namespace, watched.store, names.KIND):
            changed = await kube.apply(chat | {"spec": chat["spec"] | {"replicas": 2}})
            await watched.until({"chat": changed["metadata"]["resourceVersion"]})
            async with asyncio.timeout(30):
                while len(source.watches) < 2:  # noqa: ASYNC110  (the reflector tells nobody when it watches)
                    await asyncio.sleep(0.05)
        assert source.watches[0] == "1"
        assert source.lists == 2

    with_kube(test)


def test_no_change_is_missed_while_watches_end_and_begin(namespace: str) -> None:
    async def test(kube: Kube) -> None:
        expected, watched = await create_some(kube, namespace, 3), Watched()
        source = Restless(kube)
        async with reflecting(source, namespace, watched.store):
            for number in range(40):
                name = f"m{number % 3}"
                changed = await kube.apply(a_config_map(namespace, name, text=str(number)))
                expected[name] = changed["metadata"]["resourceVersion"]
                await asyncio.sleep(0.1)
            await watched.until(expected)
        assert len(source.watches) > 2
        assert source.lists == 1

    with_kube(test)


def test_an_apply_takes_its_fields_over_and_leaves_others_alone(api: Cluster, namespace: str) -> None:
    async def test(kube: Kube) -> None:
        await kube.apply(a_config_map(namespace, "m", ours="1"))
        patch = ["patch", "configmap/m", "--type=merge", "-p", '{"data":{"ours":"broken","theirs":"2"}}']
        await asyncio.to_thread(Kubectl(api, namespace), *patch)

        repaired = await kube.apply(a_config_map(namespace, "m", ours="1"))

        assert repaired["data"] == {"ours": "1", "theirs": "2"}
        again = await kube.apply(a_config_map(namespace, "m", ours="1"))
        assert again["metadata"]["resourceVersion"] == repaired["metadata"]["resourceVersion"]

    with_kube(test)


def test_a_delete_is_only_for_the_object_that_was_seen(namespace: str) -> None:
    async def test(kube: Kube) -> None:
        first = (await kube.apply(a_config_map(namespace, "m", text="1")))["metadata"]
        second = (await kube.apply(a_config_map(namespace, "m", text="2")))["metadata"]
        with pytest.raises(Conflict):
            await kube.delete("ConfigMap", namespace, "m", uid=first["uid"], resource_version=first["resourceVersion"])
        with pytest.raises(Conflict):
            await kube.delete("ConfigMap", namespace, "m", uid="x", resource_version=second["resourceVersion"])
        await kube.delete("ConfigMap", namespace, "m", uid=second["uid"], resource_version=second["resourceVersion"])
        with pytest.raises(NotFound):
            await kube.get("ConfigMap", namespace, "m")

    with_kube(test)


def test_a_refusal_carries_the_servers_words(namespace: str) -> None:
    wrong = a_config_map(namespace, "Not_A_Name")

    with pytest.raises(Refused, match=r"metadata\.name"):
        with_kube(lambda kube: _ignore(kube.apply(wrong)))


async def _ignore(call: Awaitable[Any]) -> None:
    await call


def test_a_status_is_not_written_to_another_object_of_that_name(namespace: str) -> None:
    async def test(kube: Kube) -> None:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s", "namespace": namespace},
            "spec": {"ports": [{"port": 80}]},
        }
        await kube.apply(service)
        metadata = {"name": "s", "namespace": namespace, "uid": "another"}
        with pytest.raises((Conflict, Refused)):
            await kube.apply_status({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "status": {}})

    with_kube(test)


def test_an_event_is_accepted(api: Cluster, namespace: str) -> None:
    owner = Owner(name="chat", namespace=namespace, uid="u", generation=1)
    note = Note(type="Warning", reason=Reason.CRASH_LOOP, action="Observe", message="it crashed " * 200)

    with_kube(lambda kube: kube.create_event(event_of(owner, note, "me", datetime.now(UTC))))

    [event] = Kubectl(api, namespace).items("events.events.k8s.io")
    assert (event["reason"], event["regarding"]["name"], len(event["note"])) == ("CrashLoop", "chat", 1024)


def test_the_ledger_tells_a_change_from_none_for_each_kind(namespace: str) -> None:
    labels = {"app": "x"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    sets = {"selector": {"matchLabels": labels}, "template": template}
    specs: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "StatefulSet": ("apps/v1", sets | {"serviceName": "x", "replicas": 1}, {"replicas": 2}),
        "Deployment": ("apps/v1", sets | {"replicas": 1}, {"replicas": 2}),
        "Service": ("v1", {"ports": [{"port": 80}]}, {"ports": [{"port": 81}]}),
        "PodDisruptionBudget": (
            "policy/v1",
            {"selector": {"matchLabels": labels}, "maxUnavailable": 1},
            {"maxUnavailable": 2},
        ),
    }

    async def test(kube: Kube) -> None:
        ledger, deployment = Ledger(), Key(namespace, "chat")
        for kind, (api_version, spec, change) in specs.items():
            manifest = {
                "apiVersion": api_version,
                "kind": kind,
                "metadata": {"name": "x", "namespace": namespace, "labels": names.identity("chat")},
                "spec": spec,
            }
            key = ChildKey(kind, "x")
            applied = msgspec.convert(await kube.apply(manifest), Child)
            ledger.record(deployment, key, applied, "digest", names.identity("chat"))
            again = msgspec.convert(await kube.apply(manifest), Child)
            assert ledger.applied_digest(deployment, key, again) == "digest", kind

            changed = msgspec.convert(await kube.apply(manifest | {"spec": spec | change}), Child)
            assert ledger.applied_digest(deployment, key, changed) is None, kind

    with_kube(test)
