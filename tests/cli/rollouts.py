"""What tests of `kubectl gptoss rollout` arrange with: a GptOssDeployment as kubectl prints it."""

from typing import Any

from gptoss_operator.core.dates import seconds_of


Json = dict[str, Any]

STARTED = "2026-11-22T12:00:00Z"
PROGRESSED = "2026-11-22T12:03:00Z"


def at(date: str) -> float:
    """Return a date as seconds since 1970."""
    seconds = seconds_of(date)
    assert seconds is not None
    return seconds


NOW = at("2026-11-22T12:05:00Z")


def a_condition(kind: str, status: str, reason: str, message: str) -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": STARTED}


def an_object(*, generation: int = 2, seen: int | None = 2, spec: Json | None = None, **status: Any) -> Json:  # noqa: ANN401 - a raw object of the API
    """Return a deployment whose revision `aaa` serves, unless `status` says otherwise."""
    said: Json = {
        "observedGeneration": seen,
        "conditions": [a_condition("Accepted", "True", "Valid", "the spec can be carried out")],
        "revision": "aaa",
        "currentRevision": "aaa",
        "servedModel": "openai/gpt-oss-20b",
        "image": "server:1",
        "ready": "4/4",
        "desiredReplicas": 4,
        "updatedReplicas": 4,
        **status,
    }
    return {
        "apiVersion": "gptoss.dev/v1alpha1",
        "kind": "GptOssDeployment",
        "metadata": {"name": "chat", "namespace": "demo", "generation": generation},
        "spec": {"model": {"name": "gpt-oss-20b"}, **(spec or {})},
        "status": {name: value for name, value in said.items() if value is not None},
    }


def a_rollout(**changes: Any) -> Json:  # noqa: ANN401 - a raw object of the API
    return {
        "revision": "bbb",
        "from": "aaa",
        "phase": "Progressing",
        "strategy": "Surge",
        "reason": "1 of 2 replicas of revision bbb do not serve yet",
        "step": 2,
        "steps": 4,
        "updated": 1,
        "startedAt": STARTED,
        "progressedAt": PROGRESSED,
        **changes,
    }


def rolling(*, spec: Json | None = None, **changes: Any) -> Json:  # noqa: ANN401 - a raw object of the API
    """Return a deployment that goes from revision `aaa` to `bbb`."""
    return an_object(revision="bbb", rollout=a_rollout(**changes), spec=spec)


def a_gate(replica: str, gate: str, result: str, message: str = "") -> Json:
    return {"replica": replica, "gate": gate, "result": result, "message": message}


def complete() -> Json:
    return an_object(revision="bbb", currentRevision="bbb")


def refused() -> Json:
    """Return a deployment whose revision `bbb` has failed, and `aaa` serves again."""
    return an_object(
        revision="bbb",
        refusedRevision={
            "revision": "bbb",
            "reason": "WrongAnswers",
            "message": "chat-r4: golden prompt capital: the answer\nlacks 'Paris'",
            "at": PROGRESSED,
        },
    )
