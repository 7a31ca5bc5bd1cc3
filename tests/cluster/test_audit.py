import json
from typing import Any

from e2e.rollout.audit import PodSeen, lowest_ready, most_at_once, ready_over_time, replicas_seen
from gptoss_operator.api.names import ANNOTATION_TRAFFIC


def an_event(second: int, name: str, *, verb: str = "patch", code: int = 200, **pod: Any) -> str:  # noqa: ANN401 - raw
    labels = {"gptoss.dev/deployment": "chat", "app.kubernetes.io/component": "replica", "gptoss.dev/revision": "a"}
    metadata = {
        "namespace": "demo",
        "name": name,
        "uid": f"uid of {name}",
        "labels": labels | pod.get("labels", {}),
        "annotations": {ANNOTATION_TRAFFIC: "open"},
        **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if pod.get("leaves") else {}),
    }
    ready = {"type": "Ready", "status": str(pod.get("ready", False))}
    return json.dumps(
        {
            "verb": verb,
            "stageTimestamp": f"1970-01-01T00:00:{second:02}.000000Z",
            "responseStatus": {"code": code},
            "responseObject": {"kind": "Pod", "metadata": metadata, "status": {"conditions": [ready]}},
        }
    )


def seen(*lines: str) -> list[PodSeen]:
    return replicas_seen(lines, "demo", "chat")


def test_a_pod_is_read_as_it_was_after_the_change() -> None:
    assert seen(an_event(7, "chat-r0-0", ready=True)) == [
        PodSeen(
            at=7,
            name="chat-r0-0",
            uid="uid of chat-r0-0",
            revision="a",
            traffic="open",
            ready=True,
            leaves=False,
        )
    ]


def test_what_failed_and_other_pods_do_not_count() -> None:
    gateway = {"app.kubernetes.io/component": "gateway"}
    secret = json.dumps({"verb": "get", "responseObject": {"kind": "Secret"}})
    assert seen(an_event(1, "r0", code=409), an_event(2, "gateway", labels=gateway), secret) == []
    assert replicas_seen([an_event(3, "r0")], "elsewhere", "chat") == []


def test_a_pod_that_leaves_is_not_ready_from_its_deletion_on() -> None:
    changes = seen(
        an_event(1, "r0", ready=True),
        an_event(2, "r1", ready=True),
        an_event(5, "r0", verb="delete", ready=True, leaves=True),
        an_event(6, "r0", ready=True, leaves=True),
        an_event(8, "r2", ready=True),
    )
    assert ready_over_time(changes) == [(1, 1), (2, 2), (5, 1), (8, 2)]
    assert lowest_ready(changes, 3, 4) == 2
    assert lowest_ready(changes, 3, 9) == 1
    assert lowest_ready(changes, 6, 7) == 1


def test_a_revision_is_counted_by_the_pods_that_are_there_at_once() -> None:
    bad = {"gptoss.dev/revision": "b"}
    changes = seen(
        an_event(1, "r0"),
        an_event(2, "r1", labels=bad),
        an_event(3, "r1", labels=bad, leaves=True),
        an_event(4, "r2", labels=bad),
    )
    assert most_at_once(changes, "b") == 1
    assert most_at_once(changes, "c") == 0
