"""An operator that dies after each of its writes, one after the other, rolls out and back as one that lives."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from difflib import unified_diff
from pathlib import Path
from typing import Final

import pytest

from e2e.children import children, eventually
from e2e.cluster.provider import Cluster
from gptoss_runtime.contract import Check, CheckResult
from tests.integration.players import Role
from tests.integration.proxy import Strike, proxied
from tests.integration.recorder import DEPLOYMENT, REVISION, uids
from tests.integration.rollouts import Stage, heard, machines, outcomes, rolling, staged
from tests.integration.simulated import hearing_operator


OURS: Final = "app.kubernetes.io/component=revision"
REPLICAS: Final = 2
MOST_LIVES: Final = 40
MOST_TIMES: Final = 3
"""How often it dies of a write to the same object."""
LIFE_SECONDS: Final = 30
DATES: Final = re.compile(r'"\d{4}-\d\d-\d\dT[^"]*"')
UIDS: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SLOTS: Final = re.compile(r"-r\d+|(?<=gptoss.dev/slot\": )\"\d+\"")
NEW, BAD = {"image": "simulated:new"}, {"image": "simulated:bad"}
WRONG: Final = CheckResult(ok=False, detail="capital: the answer lacks 'paris'")


@pytest.fixture
def stage(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with staged(installed, namespace, tmp_path) as stage, machines(stage.user, 8):
        stage.players.roles["simulated:bad"] = Role(checks={Check.GOLDEN_PROMPTS: WRONG})
        yield stage


def rolled(stage: Stage, name: str) -> bool:
    """Whether the change has come to its end, whichever it is."""
    obj = stage.recorder.deployment(name)
    status, replicas = obj.get("status", {}), stage.recorder.replicas(name)
    seen = status.get("observedGeneration") == obj["metadata"]["generation"]
    return (
        seen and "rollout" not in status and uids(stage.serving(name)) == uids(replicas) and len(replicas) == REPLICAS
    )


def live(cluster: Cluster, stage: Stage, name: str, directory: Path, struck: list[str]) -> bool:
    """Let an operator live until it has changed something, which `struck` gets. Return whether there was something."""
    directory.mkdir()
    listed = json.loads(stage.user.raw(f"/api/v1/namespaces/{stage.user.namespace}/configmaps"))
    began = int(listed["metadata"]["resourceVersion"])

    def falls_now(write: str, answer: bytes) -> bool:
        falls = f"/{name}" in write and has_changed(write, answer, began) and struck.count(write) < MOST_TIMES
        struck.extend([write] * falls)
        return falls

    strike = Strike(after=falls_now)
    with ExitStack() as opened:
        kubeconfig = opened.enter_context(proxied(cluster, directory, strike, inside=True))
        log = directory / "operator.log"
        operator = opened.enter_context(hearing_operator(cluster, stage.user.namespace, log, kubeconfig=kubeconfig))
        strike.act = operator.kill
        eventually(
            lambda: operator.poll() is not None or rolled(stage, name),
            "it writes, or all is done",
            seconds=LIFE_SECONDS,
        )
        return operator.poll() is not None


def has_changed(write: str, answer: bytes, began: int) -> bool:
    """Whether a write has changed something since the version `began`. A new process applies all that it finds.

    Events are left out: nothing follows from them, and one that was sent before the status was is sent again.
    """
    if write.endswith("/events"):
        return False
    obj = json.loads(answer)
    if obj.get("kind") == "Status":
        return bool(obj["status"] == "Success")
    return int(obj["metadata"]["resourceVersion"]) > began


def ended(stage: Stage, name: str) -> str:
    """Return all that a rollout has left, as one text in which names, slots and times do not show."""
    status = stage.recorder.status(name)
    kept = {key: status.get(key) for key in ("revision", "currentRevision", "refusedRevision", "history", "ready")}
    conditions = [{key: c[key] for key in ("type", "status", "reason")} for c in status["conditions"]]
    records = {
        record["metadata"]["labels"][REVISION]: (record["revision"], record["data"])
        for record in stage.user.items("controllerrevisions", f"--selector={OURS},{DEPLOYMENT}={name}")
    }
    found = sorted(children(stage.user, name).values(), key=lambda child: plain(json.dumps(child, sort_keys=True)))
    return plain(json.dumps([found, kept, conditions, records], sort_keys=True, indent=1).replace(name, "NAME"))


def difference(stage: Stage, one: str, other: str) -> list[str]:
    """Return in what two rollouts have not left the same."""
    return list(unified_diff(ended(stage, one).splitlines(), ended(stage, other).splitlines(), n=0, lineterm=""))


def plain(text: str) -> str:
    return DATES.sub("DATE", SLOTS.sub("SLOT", UIDS.sub("UID", text)))


@pytest.mark.parametrize("change", [NEW, BAD], ids=["forward", "back"])
def test_killed_after_each_write_a_rollout_ends_as_an_undisturbed_one(
    installed: Cluster, stage: Stage, tmp_path: Path, change: dict[str, str]
) -> None:
    names = ("calm", "killed")
    with heard(installed, stage):
        stage.user.apply(*(rolling(stage.user, name, replicas=REPLICAS) for name in names))
        for name in names:
            stage.settle(name)
        stage.change("calm", **change)
        stage.recorder.until(lambda: rolled(stage, "calm"), "the undisturbed one is rolled out")
    mark = stage.change("killed", **change)
    struck: list[str] = []
    while live(installed, stage, "killed", tmp_path / str(len(struck)), struck):
        assert len(struck) < MOST_LIVES
    with heard(installed, stage):
        with suppress(AssertionError):
            eventually(lambda: not difference(stage, *names), "both have ended the same")
        assert not difference(stage, *names), "\n".join(difference(stage, *names))
    print(f"{len(struck)} deaths, after {[write.rsplit(stage.user.namespace)[-1] for write in struck]}")  # noqa: T201

    revision = stage.recorder.status("killed")["revision"]
    assert stage.recorder.least_ready("killed", mark) >= REPLICAS
    if change is BAD:
        assert stage.recorder.most("killed", revision) == 1
    assert outcomes(stage.recorder.deployment("killed"))[:1] == [
        (revision, "RolledBack" if change is BAD else "Active")
    ]
