import time

import pytest

from gptoss_operator.core.objects import Child
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.store import Key
from tests.shell.builders import OWNER, a_body, a_child


CHAT = Key("demo", "chat")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def seen(version: int) -> Child:
    return a_child("chat", version=version, owner_uid=None)


def test_an_older_version_does_not_replace_what_our_own_write_returned() -> None:
    bodies = Bodies()
    bodies.deliver(a_body(version=1))
    bodies.remember(a_body(version=3))

    bodies.deliver(a_body(version=2))

    body = bodies.get(CHAT)
    assert body is not None
    assert body["metadata"]["resourceVersion"] == "3"


def test_an_answer_that_comes_after_the_end_does_not_bring_an_object_back() -> None:
    bodies = Bodies()
    bodies.deliver(a_body(version=1))

    assert bodies.forget(CHAT, OWNER.uid)
    bodies.remember(a_body(version=2))

    assert bodies.get(CHAT) is None


def test_the_end_of_an_earlier_object_leaves_its_successor() -> None:
    bodies = Bodies()
    bodies.deliver(a_body(version=5, uid="second"))

    assert not bodies.forget(CHAT, "first")
    assert list(bodies.keys()) == [CHAT]


def test_kopf_is_late_when_it_does_not_deliver_what_the_other_watch_saw(clock: list[float]) -> None:
    bodies = Bodies()
    bodies.deliver(a_body(version=1))
    bodies.expect(seen(1))
    bodies.expect(seen(2))
    clock[0] += 59
    bodies.expect(seen(3))
    assert bodies.late() is None
    clock[0] += 2

    assert bodies.late() == "version 3 of demo/chat was not delivered for 61 s"
    bodies.remember(a_body(version=3))
    assert bodies.late() is not None, "our own write says nothing about kopf"
    bodies.deliver(a_body(version=3))
    assert bodies.late() is None


def test_nothing_is_late_when_kopf_is_first(clock: list[float]) -> None:
    bodies = Bodies()
    bodies.deliver(a_body(version=4))
    bodies.expect(seen(3))
    bodies.expect(seen(4))
    clock[0] += 1000

    assert bodies.late() is None


def test_the_users_of_a_secret_are_those_of_its_namespace_that_name_it() -> None:
    bodies = Bodies()
    body = a_body()
    body["spec"] = {"routing": {"apiKeys": {"secretName": "keys"}}}
    bodies.deliver(body)

    assert list(bodies.users_of_secret(Key("demo", "keys"))) == [CHAT]
    assert list(bodies.users_of_secret(Key("demo", "other"))) == []
    assert list(bodies.users_of_secret(Key("elsewhere", "keys"))) == []
