"""Plays replicas by the image that they run: what they say of themselves, what they count, and how they end."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl, KubectlError
from gptoss_runtime.contract import Check, CheckResult, Counter, Phase, ReplicaState, Verdict, canary_share
from tests.integration.operator_process import STOP_SECONDS
from tests.integration.recorder import Obj, Recorder, traffic_of
from tests.integration.simulated import REPOSITORY


FULL: Final = 100
UP: Final = Verdict(ready=True, live=True, reason="vLLM is up")
HELD: Final = Verdict(ready=False, live=True, reason="it could serve, and is not let in yet")
PER_SECOND: Final[Mapping[str, float]] = {
    Counter.ANSWERS: 100.0,
    Counter.ANSWERS_FAILED: 0.0,
    Counter.FIRST_TOKENS: 100.0,
    Counter.FIRST_TOKEN_SECONDS: 20.0,
    Counter.FURTHER_TOKENS: 5000.0,
    Counter.FURTHER_TOKEN_SECONDS: 50.0,
}
"""Of a replica that serves with its full share: 0.2 s to the first token, 10 ms for a further one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a server ends."""

    exit_code: int
    message: str = ""
    reason: str = "Error"
    times: int = 1
    """How often."""
    with_share: int = 0
    """From which share of the requests on, in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """How the replicas behave that run one image."""

    starts: ReplicaState | None = None
    """What it says as long as it lives, instead of how it serves. None: it comes to serve."""
    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    per_second: Mapping[str, float] = field(default_factory=lambda: PER_SECOND)
    """What it counts with its full share."""
    ending: Ending | None = None

    def says(self, share: int) -> ReplicaState:
        """Return what it says of itself with a share of the requests, in percent."""
        if self.starts is not None:
            return self.starts
        phase, verdict = (Phase.READY, UP) if share else (Phase.WAITING, HELD)
        return ReplicaState(
            start_id="one",
            sequence=1,
            phase=phase,
            verdict=verdict,
            uptime_seconds=1.0,
            checks={Check.MODEL_LOADED: CheckResult(ok=True, detail="it serves chat"), **self.checks},
        )


def saying(phase: Phase, words: str) -> ReplicaState:
    """Return what a replica says that does not serve, and why."""
    verdict = Verdict(ready=False, live=True, reason=words)
    return replace(Role().says(0), phase=phase, verdict=verdict)


class Players:
    """Plays all replicas of a namespace. An image with no role of its own serves well."""

    def __init__(self, user: Kubectl, said: Path) -> None:
        self.roles: dict[str, Role] = {}
        self._user = user
        self._said = said
        self._shares: dict[str, int] = {}
        """By the uid of a pod."""

    def play(self, pod: Obj) -> None:
        """Play one pod as it is now."""
        address, uid = pod["status"].get("podIP"), pod["metadata"]["uid"]
        if not address:
            return
        if pod["gone"]:
            (self._said / address).unlink(missing_ok=True)
            return
        role = self.roles.get(_server(pod["spec"]["containers"])["image"], Role())
        share = canary_share(traffic_of(pod)) or 0
        ending = role.ending
        if ending is not None and share >= ending.with_share and pod["status"]["phase"] == "Running":
            self._end(pod, address, ending)
        elif self._shares.get(uid) != share:
            self._shares[uid] = share
            self._say(address, role, share)

    def _say(self, address: str, role: Role, share: int) -> None:
        rates = {name: rate * share / FULL for name, rate in role.per_second.items()} if share else {}
        document = json.loads(role.says(share).encode()) | {"per_second": rates, "since": time.time()}
        draft = self._said / "draft"
        draft.write_text(json.dumps(document))
        draft.replace(self._said / address)

    def _end(self, pod: Obj, address: str, ending: Ending) -> None:
        """Let the server end once more, as the kubelet would say it."""
        (self._said / address).unlink(missing_ok=True)
        ended = _server(pod["status"].get("containerStatuses", [{"name": "server", "restartCount": 0}]))
        if ended["restartCount"] >= ending.times or "deletionTimestamp" in pod["metadata"]:
            return
        words = {"exitCode": ending.exit_code, "reason": ending.reason, "message": ending.message}
        status = {
            "name": "server",
            "image": "",
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": ended["restartCount"] + 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}, "running": None},
            "lastState": {"terminated": words},
        }
        not_ready = [{"type": each, "status": "False", "reason": "Ended"} for each in ("Ready", "ContainersReady")]
        patch = {"status": {"conditions": not_ready, "containerStatuses": [status]}}
        try:
            name = pod["metadata"]["name"]
            self._user("patch", "pod", name, "--subresource=status", "--type=strategic", "-p", json.dumps(patch))
        except KubectlError as error:
            # It went in this moment.
            if "NotFound" not in str(error):
                raise


@contextmanager
def playing(cluster: Cluster, user: Kubectl, recorder: Recorder, scratch: Path) -> Iterator[Players]:
    """Play the replicas that `recorder` sees as long as it is open."""
    said = scratch / "said"
    said.mkdir()
    players = Players(user, said)
    recorder.listeners.append(players.play)
    speak = [*cluster.enter(), sys.executable, "-m", "tests.integration.said", str(said)]
    with subprocess.Popen(speak, cwd=REPOSITORY, stdout=subprocess.PIPE) as speaker:
        try:
            assert speaker.stdout is not None
            assert speaker.stdout.readline() == b"up\n"
            yield players
        finally:
            recorder.listeners.remove(players.play)
            speaker.kill()
            speaker.wait(timeout=STOP_SECONDS)


def _server(containers: list[Obj]) -> Obj:
    return next(each for each in containers if each["name"] == "server")
