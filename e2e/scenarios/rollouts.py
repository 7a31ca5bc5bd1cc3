"""A deployment that is rolled out, clients that notice what answers them, and what is shown when it goes wrong."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from e2e.kubectl import Kubectl, KubectlError
from e2e.model import ANSWER_TEXT, OTHER_ANSWER_TEXT, Variant
from e2e.rollout.audit import PodSeen, replicas_seen
from e2e.scenarios.conftest import ENGINE, MODEL, NAMESPACE, ONE_CPU_EACH, Load, deployment
from e2e.scenarios.pods import Background, lasting_streams, uids
from e2e.stack import CLAIM, Stack
from e2e.watch import until


NAME = "roll"
URL = f"http://{NAME}.{NAMESPACE}.svc.cluster.local:8000/v1"
REPLICAS = f"gptoss.dev/deployment={NAME},app.kubernetes.io/component=replica"
STREAMS, STREAM_TOKENS = 16, 100
CHATS = 4
FEW = 1
"""Streams and chats where their number tells nothing: what they compute is missing where a server starts."""
CHAT_SECONDS = 1000
STOP = "/tmp/stop-streams"  # noqa: S108 - in the client's pod; the one of `lasting_streams`
GOOD_ENDS = {"length", "stop"}
LOG_LINES = 40


class Answer(NamedTuple):
    """What one request came to."""

    began: float
    """In seconds since 1970."""
    text: str
    """The answer's beginning."""
    end: str
    """The finish reason, or what came instead."""

    @property
    def model(self) -> Variant:
        """Who answered. A plain prompt that is a beginning itself is gone on with."""
        if self.text and self.text in ANSWER_TEXT:
            return Variant.USUAL
        return Variant.OTHER if self.text and self.text in OTHER_ANSWER_TEXT else Variant.WRONG


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What clients got, when all their requests have ended."""

    answers: list[Answer]
    since: float
    """When they began to ask, and until when they did, in seconds since 1970."""
    until: float

    @property
    def bad(self) -> list[Answer]:
        """Those that failed or were cut."""
        return [answer for answer in self.answers if answer.end not in GOOD_ENDS]

    @property
    def models(self) -> Counter[Variant]:
        """How many answers came whole, by the model that gave them."""
        return Counter(answer.model for answer in self.answers if answer.end in GOOD_ENDS)


def claim_of(variant: Variant) -> str:
    """Return the claim that has the model of that kind."""
    return CLAIM if variant is Variant.USUAL else f"{CLAIM}-{variant}"


def source(variant: Variant) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": claim_of(variant)}}


def gates(*, hold_seconds: int = 20, contains: str | None = None) -> dict[str, Any]:
    """Return what is asked of a new replica. How fast it is tells nothing here, where all of them share two CPUs."""
    prompts = [{"name": "greeting", "prompt": "Hello!", "contains": [contains]}] if contains else []
    canary = {
        "holdSeconds": hold_seconds,
        "maxFirstTokenIncreasePercent": 10000,
        "maxTokenIncreasePercent": 10000,
    }
    return {"builtIn": ["Harmony", "ToolCall"], "prompts": prompts, "canary": canary}


def rolling(replicas: int) -> dict[str, Any]:
    """Return the deployment, of the usual model."""
    # One process and its imports less at each start.
    env = [*ONE_CPU_EACH, {"name": "VLLM_ENABLE_V1_MULTIPROCESSING", "value": "0"}]
    engine = {**ENGINE, "enforceEager": True}
    return deployment(NAME, replicas=replicas, engine=engine, pod={"env": env}, rollout={"gates": gates()})


def change(kubectl: Kubectl, **spec: Any) -> str:  # noqa: ANN401 - a raw object
    """Change the spec; return the revision that served until then."""
    before: str = kubectl.json("get", "gptoss", NAME)["status"]["currentRevision"]
    kubectl("patch", "gptoss", NAME, "--type=merge", "-p", json.dumps({"spec": spec}))
    return before


def complete(obj: dict[str, Any], before: str) -> bool:
    """Whether what the spec asks for serves, in place of the revision of before."""
    status = obj.get("status", {})
    serves = status.get("currentRevision") not in (None, before) and status["currentRevision"] == status["revision"]
    seen = status.get("observedGeneration") == obj["metadata"]["generation"]
    return bool(seen and serves and not status.get("rollout"))


def rolled_back(obj: dict[str, Any], before: str) -> bool:
    """Whether what the spec asks for has failed, and the revision of before serves as a whole."""
    status = obj.get("status", {})
    seen = status.get("observedGeneration") == obj["metadata"]["generation"]
    refused = status.get("refusedRevision", {}).get("revision") == status.get("revision")
    return bool(seen and refused and status["currentRevision"] == before and not status.get("rollout"))


def wait(kubectl: Kubectl, reached: Any, before: str, seconds: float) -> dict[str, Any]:  # noqa: ANN401 - one of the above
    return until(kubectl, NAME, lambda obj: reached(obj, before), timeout_seconds=seconds)


def events(kubectl: Kubectl, reason: str) -> list[str]:
    """Return the messages of the deployment's events of that reason."""
    items = kubectl.items("events", f"--field-selector=involvedObject.name={NAME},reason={reason}")
    return [event["message"] for event in items]


def seen(stack: Stack) -> list[PodSeen]:
    """Return what has become of the replicas' pods."""
    assert stack.cluster.audit_log, "the API server has no audit log: the provider `local` gives it one"
    with Path(stack.cluster.audit_log).open() as lines:
        return replicas_seen(lines, NAMESPACE, NAME)


def newest(kubectl: Kubectl, before: Sequence[str]) -> str | None:
    """Return the name of the replica's pod that is not one of those `before`, if there is one."""
    return next((name for name, uid in uids(kubectl, REPLICAS).items() if uid not in before), None)


class Clients:
    """Clients that ask all the time."""

    def __init__(self, load: Load, streams: Background, chats: int) -> None:
        self.since = time.time()
        self.running = [streams, Background(load, "chats", URL, MODEL, chats, CHAT_SECONDS, STOP)]

    def ended(self) -> Asked:
        """Return what they got. They must have been told to stop."""
        until = time.time()
        answers = [Answer(*answer) for load in self.running for answer in load.wait()["answers"]]
        return Asked(answers=answers, since=self.since, until=until)


@contextmanager
def clients(kubectl: Kubectl, load: Load, streams: int = FEW, chats: int = FEW) -> Iterator[Clients]:
    """Have so many streams and some chats all the time until the block ends."""
    with (
        explained(kubectl),
        lasting_streams(kubectl, load, url=URL, model=MODEL, count=streams, tokens=STREAM_TOKENS) as lasting,
    ):
        yield Clients(load, lasting, chats)


@contextmanager
def explained(kubectl: Kubectl) -> Iterator[None]:
    """Add what the deployment, its events and its pods say to an error of the block."""
    try:
        yield
    except BaseException as error:
        error.add_note(_said(kubectl, "get", "gptoss", NAME, "-o", "yaml"))
        error.add_note(_said(kubectl, "get", "events", "--sort-by=.lastTimestamp"))
        error.add_note(_said(kubectl, "get", "pods", "-o", "wide"))
        for pod in uids(kubectl, REPLICAS):
            error.add_note(f"{pod}:\n{_said(kubectl, 'logs', pod, f'--tail={LOG_LINES}')}")
        raise


def _said(kubectl: Kubectl, *words: str) -> str:
    try:
        return kubectl(*words)
    except KubectlError as error:
        return str(error)
