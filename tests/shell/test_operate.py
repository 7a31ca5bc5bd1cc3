import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from gptoss_operator.core.observation import ChildKey
from gptoss_operator.shell.operate import Operator
from gptoss_operator.shell.settings import Settings
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from tests.shell.builders import OWNER, a_body, a_child
from tests.shell.fake_api import Answer, FakeApi


T = TypeVar("T")

CHAT = Key("demo", "chat")


def with_operator(test: Callable[[Operator], T]) -> T:
    async def run() -> T:
        async with FakeApi().serve() as kube:
            return test(Operator(Settings(server_image="s", gateway_image="g", activator_image="a"), kube, Telemetry()))

    return asyncio.run(run())


def test_it_is_not_ready_before_everything_is_listed() -> None:
    def test(operator: Operator) -> list[str | None]:
        answers = [operator.not_ready()]
        for reflector in operator.reflectors:
            if reflector.kind != "Pod":
                reflector.synced.set()
        answers.append(operator.not_ready())
        for reflector in operator.reflectors:
            reflector.synced.set()
        return [*answers, operator.not_ready()]

    nothing, pods_missing, everything = with_operator(test)

    assert nothing is not None
    assert pods_missing == "not listed yet: Pod"
    assert everything is None


def test_a_process_that_does_not_get_at_its_lease_is_neither_ready_nor_at_work() -> None:
    async def run() -> tuple[str | None, str | None, bool]:
        settings = Settings(
            server_image="s", gateway_image="g", activator_image="a", lease_namespace="n", lease_name="x"
        )
        async with FakeApi().serve() as kube:
            operator = Operator(settings, kube, Telemetry())
            for reflector in operator.reflectors:
                reflector.synced.set()
            before = operator.not_ready()
            assert operator.lease is not None
            operator.lease.joined = True
            return before, operator.not_ready(), operator.leads()

    before, after, leads = asyncio.run(run())

    assert before == "Lease n/x is neither read nor claimed yet: the log says why"
    assert after is None
    assert not leads


def test_a_process_that_waits_for_the_lease_makes_no_pass_and_asks_no_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr("gptoss_operator.shell.scrape.Scraper.run", lambda _: begun.append("questions"))
    monkeypatch.setattr("gptoss_operator.shell.queue.WorkQueue.run", lambda _: begun.append("passes"))
    held = {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "another", "leaseDurationSeconds": 15}}

    async def run() -> tuple[str | None, list[str]]:
        settings = Settings(
            server_image="s", gateway_image="g", activator_image="a", lease_namespace="n", lease_name="x"
        )
        fake = FakeApi(Answer(body=held))
        async with fake.serve() as kube:
            operator = Operator(settings, kube, Telemetry())
            for reflector in operator.reflectors:
                reflector.synced.set()
            working = asyncio.create_task(operator.work())
            # The second look at the Lease comes when the first has been taken in.
            await asyncio.wait_for(fake.used_up.wait(), 30)
            working.cancel()
            await asyncio.wait({working})
            return operator.not_ready(), [method for method, *_ in fake.asked]

    not_ready, asked = asyncio.run(run())

    assert not_ready is None
    assert begun == []
    assert asked == ["GET", "GET"]


def test_it_is_sick_when_a_watch_is_stuck_or_kopf_went_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("gptoss_operator.shell.reflect.time.monotonic", lambda: now[0])

    def test(operator: Operator) -> list[str | None]:
        operator.owners.seen(None, a_child("chat", version=7, owner_uid=None))
        answers = [operator.sick()]
        now[0] += 100
        answers.append(operator.sick())
        operator.bodies.deliver(a_body(version=7))
        answers.append(operator.sick())
        now[0] += 100
        return [*answers, operator.sick()]

    well, silent, well_again, stuck = with_operator(test)

    assert well is well_again is None
    assert silent is not None
    assert silent.startswith("kopf's watch of GptOssDeployment has gone silent: version 7 of demo/chat")
    assert stuck == "the watch of Node is stuck for 200 s"


def test_an_end_that_kopf_missed_is_noticed_by_the_other_watch() -> None:
    def test(operator: Operator) -> object:
        operator.bodies.deliver(a_body(version=1))
        operator.owners.seen(None, a_child("chat", version=1, uid=OWNER.uid, owner_uid=None))
        operator.ledger.record(CHAT, ChildKey("Service", "chat"), a_child("chat"), "digest", {})

        operator.owners.replace(None, [], "9")

        return operator.bodies.get(CHAT), operator.ledger.applied(CHAT)

    assert with_operator(test) == (None, frozenset())


def test_a_change_of_a_part_wakes_its_deployment_and_nothing_else() -> None:
    def test(operator: Operator) -> int:
        operator.bodies.deliver(a_body(version=1))
        operator.cluster.children["Service"].seen(None, a_child("x", version=2, deployment="unknown"))
        assert len(operator.queue) == 0
        operator.cluster.children["Service"].seen(None, a_child("x", version=3))
        operator.cluster.children["Service"].seen(None, a_child("y", version=4))
        return len(operator.queue)

    assert with_operator(test) == 1
