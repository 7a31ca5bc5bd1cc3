"""Rollouts with real replicas under the load of clients: forward, back after each kind of failure, and without room.

One deployment for all, since each start of a replica takes its time. It serves the usual model at first, and the other
one from the first test on.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

import pytest

from e2e.children import eventually
from e2e.cluster.local.gpus import list_gpus, set_health
from e2e.kubectl import Kubectl
from e2e.model import OTHER_ANSWER_TEXT, Variant, ensure_variant
from e2e.processes import kill_in_pod
from e2e.progress import say
from e2e.replicas import metric
from e2e.rollout.audit import PodSeen, lowest_ready, most_at_once, ready_over_time
from e2e.scenarios.conftest import START_SECONDS, Load
from e2e.scenarios.pods import OPERATOR, restarts, uids
from e2e.scenarios.rollouts import (
    CHATS,
    NAME,
    REPLICAS,
    STREAMS,
    Asked,
    change,
    claim_of,
    clients,
    complete,
    events,
    explained,
    gates,
    newest,
    rolled_back,
    rolling,
    seen,
    source,
    wait,
)
from e2e.stack import OPERATOR_NAMESPACE, Stack
from e2e.volumes import directory_claim
from e2e.watch import settled, until


WANTED: Final = 3
CANARY_PERCENT: Final = 25
ROLL_SECONDS: Final = 900
RUNNING: Final = "vllm:num_requests_running"
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def roll(user: Kubectl) -> Iterator[Kubectl]:
    """The deployment `roll` with three ready replicas of the usual model."""
    for variant in (Variant.OTHER, Variant.WRONG):
        user.apply(*directory_claim(user.namespace, claim_of(variant), ensure_variant(variant)))
    user.apply(rolling(WANTED))
    with explained(user):
        until(user, NAME, settled, timeout_seconds=START_SECONDS)
    yield user
    user("delete", "gptoss", NAME, "--timeout=60s")


def test_a_model_is_upgraded_under_load(stack: Stack, roll: Kubectl, load: Load) -> None:
    with clients(roll, load, STREAMS, CHATS) as asking:
        rollout = {"strategy": "Auto", "maxSurge": 1, "gates": gates(contains=OTHER_ANSWER_TEXT)}
        before = change(roll, model={"source": source(Variant.OTHER)}, rollout=rollout)
        obj = wait(roll, complete, before, ROLL_SECONDS)
    asked, pods = asking.ended(), seen(stack)
    say(f"{len(asked.answers)} requests, {len(asked.bad)} of them failed or cut: {asked.models}")
    assert asked.bad == []
    assert set(asked.models) == {Variant.USUAL, Variant.OTHER}
    assert lowest(pods, asked) >= WANTED
    assert any(", Surge, " in message for message in events(roll, "RolloutStarted"))

    news = [pod for pod in pods if pod.revision == obj["status"]["revision"]]
    canary = news[0]
    let_in, opened = (moment(pods, canary.uid, traffic) for traffic in (str(CANARY_PERCENT), "open"))
    ready_at = next(pod.at for pod in news if pod.uid == canary.uid and pod.ready)
    assert canary.traffic == "closed"
    assert ready_at > let_in, "it is closed until it has passed its gates"
    slot = canary.name.removesuffix("-0")
    assert any(said.startswith(f"{slot}: GoldenPrompts: 3 of 3") for said in events(roll, "GatePassed"))
    assert all(pod.at > opened for pod in news if pod.uid != canary.uid), "it is the only one until it has been watched"
    share = share_of(asked, ready_at, opened)
    say(f"the canary's share for {opened - ready_at:.0f} s: {share:.0f} % of another's")
    assert CANARY_PERCENT / 3 <= share <= CANARY_PERCENT * 2

    with clients(roll, load) as asking:
        pass
    assert set(asking.ended().models) == {Variant.OTHER}


def test_wrong_answers_reach_no_client(stack: Stack, roll: Kubectl, load: Load) -> None:
    with clients(roll, load) as asking:
        before = change(roll, model={"source": source(Variant.WRONG)})
        obj = wait(roll, rolled_back, before, ROLL_SECONDS)
    asked, pods = asking.ended(), seen(stack)
    refused = obj["status"]["refusedRevision"]
    assert refused["reason"] == "WrongAnswers"
    assert "greeting" in refused["message"]
    check_rollback(roll, asked, pods, refused["revision"])
    assert asked.bad == []
    assert not any(pod.ready for pod in pods if pod.revision == refused["revision"])


def test_a_server_that_cannot_start_is_given_up_though_the_operator_ends_meanwhile(
    stack: Stack, roll: Kubectl, load: Load
) -> None:
    known = uids(roll, REPLICAS).values()
    with clients(roll, load) as asking:
        bad = {"model": {"source": source(Variant.OTHER)}, "engine": {"extraArgs": ["--no-such-argument"]}}
        before = change(roll, **bad)
        eventually(lambda: newest(roll, list(known)) is not None, "a new replica is there", seconds=60)
        name = newest(roll, list(known)) or ""
        eventually(lambda: restarts(roll, name) > 0, "its server has ended once", seconds=240)
        stack.kubectl(OPERATOR_NAMESPACE)("delete", "pods", "-l", OPERATOR, "--wait=false")
        obj = wait(roll, rolled_back, before, ROLL_SECONDS)
    asked, pods = asking.ended(), seen(stack)
    refused = obj["status"]["refusedRevision"]
    assert refused["reason"] == "ServerStartFailed"
    assert "3 times" in refused["message"]
    assert "--no-such-argument" in refused["message"], "the server's last words"
    check_rollback(roll, asked, pods, refused["revision"])
    assert asked.bad == []


def test_an_engine_that_dies_in_the_canary_cuts_no_stream_of_others(stack: Stack, roll: Kubectl, load: Load) -> None:
    known = list(uids(roll, REPLICAS).values())
    spec = {"model": {"source": source(Variant.USUAL)}, "engine": {"extraArgs": None}}
    # Another revision than the one of the beginning, which had three replicas.
    before = change(roll, **spec, rollout={"gates": gates(hold_seconds=600), "trigger": "the usual one again"})
    with explained(roll):
        eventually(lambda: is_ready(roll, newest(roll, known)), "the canary serves", seconds=ROLL_SECONDS)
    with clients(roll, load, STREAMS) as asking:
        name = newest(roll, known) or ""
        eventually(lambda: metric(roll, name, RUNNING) > 1, "the canary has streams", seconds=120)
        kill_in_pod(uids(roll, REPLICAS)[name], "EngineCore")
        obj = wait(roll, rolled_back, before, 240)
    asked, pods = asking.ended(), seen(stack)
    refused = obj["status"]["refusedRevision"]
    assert refused["reason"] == "EngineDied"
    check_rollback(roll, asked, pods, refused["revision"], models={Variant.USUAL, Variant.OTHER})
    # Only what the canary had begun to say is lost.
    assert {answer.end for answer in asked.bad} <= {"error: replica_lost", "error: 500"}, "by the gateway, or by vLLM"
    assert all(answer.model is Variant.USUAL for answer in asked.bad)


def test_where_no_gpu_is_left_a_replica_leaves_before_its_successor_comes(
    stack: Stack, roll: Kubectl, load: Load, full_node: int
) -> None:
    with clients(roll, load) as asking:
        rollout = {"gates": gates(hold_seconds=0, contains=OTHER_ANSWER_TEXT), "trigger": "once more"}
        before = change(roll, model={"source": source(Variant.OTHER)}, rollout=rollout)
        obj = wait(roll, complete, before, ROLL_SECONDS)
    asked, pods = asking.ended(), seen(stack)
    assert asked.bad == []
    assert set(asked.models) == {Variant.OTHER}
    assert lowest(pods, asked) >= full_node - 1
    assert most_at_once(pods, obj["status"]["revision"]) == full_node
    assert any(", Replace, " in said and "room for 0 more replicas" in said for said in events(roll, "RolloutStarted"))


@pytest.fixture
def full_node(stack: Stack, roll: Kubectl) -> Iterator[int]:
    """Two replicas, and just as many GPUs; yields how many."""
    replicas = 2
    # Back to what serves, or the number could not change alone.
    change(
        roll,
        model={"source": source(Variant.OTHER)},
        replicas=replicas,
        rollout={"trigger": None, "gates": gates(hold_seconds=0)},
    )
    until(roll, NAME, lambda obj: settled(obj) and obj["status"]["replicas"] == replicas, timeout_seconds=300)
    eventually(lambda: len(roll.items("pods", "-l", REPLICAS)) == replicas, "the third one is gone", seconds=240)
    spare = sorted(list_gpus(stack.cluster).keys() - gpus_in_use(roll))
    set_health(stack.cluster, *spare, healthy=False)
    yield replicas
    set_health(stack.cluster, *spare, healthy=True)


def gpus_in_use(kubectl: Kubectl) -> set[str]:
    statuses = [s for pod in kubectl.items("pods", "-l", REPLICAS) for s in pod["status"]["containerStatuses"]]
    resources = [resource for status in statuses for resource in status.get("allocatedResourcesStatus", [])]
    return {gpu["resourceID"] for resource in resources for gpu in resource["resources"]}


def is_ready(kubectl: Kubectl, pod: str | None) -> bool:
    conditions = kubectl.json("get", "pod", pod)["status"].get("conditions", []) if pod else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def check_rollback(
    kubectl: Kubectl, asked: Asked, pods: list[PodSeen], bad: str, *, models: Collection[Variant] = (Variant.OTHER,)
) -> None:
    """Check what holds after every failure: the others served on, and no more than one replica was bad."""
    say(f"{len(asked.answers)} requests, {len(asked.bad)} of them failed or cut: {asked.models}")
    assert set(asked.models) <= set(models)
    assert most_at_once(pods, bad) == 1
    assert lowest(pods, asked) >= WANTED
    assert any(bad in message for message in events(kubectl, "RolledBack"))


def lowest(pods: list[PodSeen], asked: Asked) -> int:
    """Return how many replicas were ready at the worst moment while clients asked."""
    worst = lowest_ready(pods, asked.since, asked.until)
    numbers = [(at - asked.since, ready) for at, ready in ready_over_time(pods) if asked.since < at <= asked.until]
    said = ", ".join(f"{ready} from {seconds:.0f} s on" for seconds, ready in numbers)
    say(f"ready replicas: {worst} at the worst moment of {asked.until - asked.since:.0f} s; {said}")
    return worst


def moment(pods: list[PodSeen], uid: str, traffic: str) -> float:
    """Return when a pod was first told which requests it gets."""
    return next(pod.at for pod in pods if pod.uid == uid and pod.traffic == traffic)


def share_of(asked: Asked, since: float, until_: float) -> float:
    """Return how many requests went to the canary from one moment to another, in percent of each old replica's."""
    models = Counter(answer.model for answer in asked.answers if since <= answer.began < until_)
    say(f"while it was the canary: {models}")
    return 100 * models[Variant.OTHER] * WANTED / models[Variant.USUAL]
