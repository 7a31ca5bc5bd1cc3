import asyncio
import contextlib
import logging

import pytest

from gptoss_operator.core.objects import Child
from gptoss_operator.shell.reflect import Reflector
from gptoss_operator.shell.store import Key, Store
from tests.shell.builders import an_object
from tests.shell.fake_api import HANG, Answer, FakeApi, a_bookmark, a_failure, a_page, an_event


A, B, C = (an_object("Service", name, version=number) for number, name in enumerate(("a", "b", "c"), start=1))


class Run:
    """A reflector that has run against a script, until the script was used up."""

    def __init__(self) -> None:
        self.store: Store[Child] = Store(lambda _before, _after: None)
        self.synced = False

    @property
    def versions(self) -> dict[str, str]:
        return {obj.metadata.name: obj.metadata.resource_version for obj in self.store}

    async def through(self, fake: FakeApi, *, silence_seconds: float = 5.0, optional: bool = False) -> None:
        async with fake.serve() as kube:
            reflector = Reflector(
                kube,
                "Service",
                Child,
                self.store,
                namespace="demo",
                selector="app=x",
                silence_seconds=silence_seconds,
                backoff_seconds=(0.01, 0.02),
                optional=optional,
            )
            task = asyncio.create_task(reflector.run())
            async with asyncio.timeout(10):
                await fake.used_up.wait()
            assert not task.done()
            self.synced = reflector.synced.is_set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def run(fake_answers: list[Answer], *, silence_seconds: float = 5.0) -> tuple[Run, FakeApi]:
    result = Run()

    async def test() -> FakeApi:
        fake = FakeApi(*fake_answers)
        await result.through(fake, silence_seconds=silence_seconds)
        return fake

    return result, asyncio.run(test())


def test_lists_in_pages_and_watches_from_the_version_of_the_list() -> None:
    result, fake = run([a_page(10, A, next_page="more"), a_page(10, B)])

    assert result.synced
    assert result.versions == {"a": "1", "b": "2"}
    queries = [query for _, _, query, _ in fake.asked]
    assert queries[0] == {"limit": "500", "labelSelector": "app=x"}
    assert queries[1] == {"limit": "500", "labelSelector": "app=x", "continue": "more"}
    assert (
        queries[2].items()
        >= {
            "watch": "1",
            "resourceVersion": "10",
            "allowWatchBookmarks": "true",
            "labelSelector": "app=x",
        }.items()
    )
    assert {path for _, path, _, _ in fake.asked} == {"/api/v1/namespaces/demo/services"}


def test_nothing_is_synced_before_the_last_page() -> None:
    result, _ = run([a_page(10, A, next_page="more")])

    assert not result.synced
    assert result.versions == {}


def test_an_empty_list_is_synced() -> None:
    result, _ = run([Answer(body={"metadata": {"resourceVersion": "3"}, "items": None})])

    assert result.synced


def test_events_are_taken_in_and_the_next_watch_goes_on_from_the_last() -> None:
    newer = an_object("Service", "a", version=11)
    gone = an_object("Service", "b", version=13)
    watch = Answer(
        lines=[
            an_event("MODIFIED", newer),
            an_event("ADDED", C | {"metadata": C["metadata"] | {"resourceVersion": "12"}}),
            an_event("DELETED", gone),
        ]
    )
    result, fake = run([a_page(10, A, B), watch])

    assert result.versions == {"a": "11", "c": "12"}
    assert fake.asked[2][2]["resourceVersion"] == "13"


def test_bookmarks_move_the_position_without_objects() -> None:
    result, fake = run([a_page(10, A), Answer(lines=[a_bookmark(500)])])

    assert result.versions == {"a": "1"}
    assert fake.asked[2][2]["resourceVersion"] == "500"


@pytest.mark.parametrize(
    "lost",
    [
        Answer(lines=[an_event("ERROR", a_failure(410, "too old resource version: 10 (20)"))]),
        Answer(status=410, body=a_failure(410, "too old resource version")),
    ],
)
def test_a_lost_position_means_to_list_again_and_what_is_not_there_is_gone(
    lost: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result, fake = run([a_page(10, A, B), lost, a_page(30, B)])

    assert result.versions == {"b": "2"}
    assert "continue" not in fake.asked[2][2]
    assert "watch" not in fake.asked[2][2]
    assert "too old resource version" in caplog.text


def test_a_list_whose_continuation_expired_starts_from_the_first_page() -> None:
    result, fake = run(
        [
            a_page(10, A, next_page="more"),
            Answer(status=410, body=a_failure(410, "The provided continue parameter is too old")),
            a_page(20, B),
        ]
    )

    assert result.versions == {"b": "2"}
    assert "continue" not in fake.asked[2][2]


@pytest.mark.parametrize(
    "failure",
    [
        Answer(status=500, body=a_failure(500, "etcd is away")),
        Answer(status=429, body=a_failure(429, "too many requests"), headers={"Retry-After": "1"}),
        Answer(lines=[an_event("ERROR", a_failure(500, "internal error"))]),
        Answer(lines=[b'{"type": "MODIFIED", "object": {"metadata": {"na']),
        Answer(lines=[an_event("MODIFIED", {"metadata": {"name": 7}})]),
    ],
    ids=["500", "429", "error event", "broken off in a line", "not an object"],
)
def test_what_goes_wrong_is_waited_out(failure: Answer) -> None:
    result, fake = run([a_page(10, A), failure, a_page(10, A), Answer(lines=[an_event("ADDED", B | {})])])

    assert result.versions["a"] == "1"
    assert len(fake.asked) >= 3


def test_a_watch_that_went_silent_is_given_up() -> None:
    silent = Answer(lines=[an_event("ADDED", an_object("Service", "b", version=11)), HANG])
    result, fake = run([a_page(10, A), silent], silence_seconds=0.2)

    assert result.versions == {"a": "1", "b": "11"}
    assert fake.asked[2][2]["resourceVersion"] == "11", "no list is needed: the position is still good"


def test_a_list_that_hangs_does_not_sync() -> None:
    result, _ = run([])

    assert not result.synced
    assert result.store.get(Key("demo", "a")) is None


@pytest.mark.parametrize("status", [403, 404], ids=["may not be read", "is not there"])
def test_a_kind_that_cannot_be_read_counts_as_seen_only_if_it_is_optional(status: int) -> None:
    forbidden = Answer(status=status, body=a_failure(status, "may not list"))

    async def synced(*, optional: bool) -> bool:
        result, fake = Run(), FakeApi(forbidden, forbidden)
        async with fake.serve() as kube:
            reflector = Reflector(kube, "Service", Child, result.store, backoff_seconds=(0.01, 0.02), optional=optional)
            task = asyncio.create_task(reflector.run())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reflector.synced.wait(), 0.5)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert not result.store.watches(None)
            return reflector.synced.is_set()

    assert asyncio.run(synced(optional=True))
    assert not asyncio.run(synced(optional=False))


def test_of_secrets_only_names_and_versions_are_asked_for() -> None:
    async def test() -> tuple[FakeApi, Store[Child]]:
        secret = an_object("Secret", "keys", version=3)
        store: Store[Child] = Store(lambda _before, _after: None)
        fake = FakeApi(a_page(10, secret), Answer(lines=[an_event("MODIFIED", secret)]))
        async with fake.serve() as kube:
            reflector = Reflector(kube, "Secret", Child, store, namespace="demo", backoff_seconds=(0.01, 0.02))
            task = asyncio.create_task(reflector.run())
            await fake.used_up.wait()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return fake, store

    fake, store = asyncio.run(test())
    assert fake.accepted[:2] == [
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    ]
    assert {query["fieldSelector"] for _, _, query, _ in fake.asked} == {
        "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson"
    }
    assert store.watches("demo")
    assert not store.watches("other")
