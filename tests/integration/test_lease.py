"""Two operators with one Lease on a real API server: one works, the other takes over, and never do both."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.children import children, eventually
from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_operator.shell.claim import DURATION_SECONDS
from tests.integration.asking import deployment, settle
from tests.integration.granted import granted
from tests.integration.operator_process import OperatorProcess
from tests.integration.proxy import Strike, proxied


LEASE = "which-one-works"
AT_ONCE_SECONDS = 12
"""Too short for a Lease to end by itself."""
TAKE_OVER_SECONDS = DURATION_SECONDS + 15
LOST_STATUS = 1


@dataclass
class Witnessed:
    """An operator whose writes are seen."""

    process: OperatorProcess
    strike: Strike

    @property
    def writes(self) -> list[str]:
        """What it wrote, but for the Lease."""
        return [write for write in self.strike.writes if "/leases" not in write]


@pytest.fixture
def pair(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[tuple[Witnessed, Witnessed]]:
    """Two operators that are ready; the first one works."""
    seen = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        seen.append(Strike())
    with (
        proxied(installed, tmp_path / "first", seen[0]) as one,
        proxied(installed, tmp_path / "second", seen[1]) as other,
        OperatorProcess(installed, namespace, tmp_path / "first.log", kubeconfig=one, lease=LEASE) as first,
    ):
        eventually(first.leads, "the first works")
        with OperatorProcess(installed, namespace, tmp_path / "second.log", kubeconfig=other, lease=LEASE) as second:
            yield Witnessed(first, seen[0]), Witnessed(second, seen[1])


def ready(user: Kubectl) -> str:
    answer: str = settle(user)["status"]["ready"]
    return answer


def holder(user: Kubectl, lease: str = LEASE) -> str:
    answer: str = user.json("get", "lease", lease)["spec"]["holderIdentity"]
    return answer


def test_of_two_one_writes_and_hands_over_at_once_when_it_is_told_to_stop(
    user: Kubectl, pair: tuple[Witnessed, Witnessed]
) -> None:
    first, second = pair
    user.apply(deployment(replicas=2))
    assert ready(user) == "2/2"
    assert (first.process.leads(), second.process.leads()) == (True, False)
    assert first.writes
    assert second.writes == []
    assert "gptoss_operator_reconcile_total{" in (first.process.get("/metrics") or "")
    assert "gptoss_operator_reconcile_total{" not in (second.process.get("/metrics") or "")
    before = holder(user)

    assert first.process.stop() == 0

    eventually(second.process.leads, "the second works", seconds=AT_ONCE_SECONDS)
    assert holder(user) not in ("", before)
    user("scale", "gptoss", "chat", "--replicas=3")
    assert ready(user) == "3/3"
    assert not [write for write in second.writes if write.startswith("DELETE")]


def test_when_the_one_that_works_is_killed_the_other_finishes_what_it_began(
    user: Kubectl, pair: tuple[Witnessed, Witnessed]
) -> None:
    first, second = pair
    first.strike.act = first.process.process.kill
    first.strike.at = len(first.strike.writes) + 4
    user.apply(deployment(replicas=2))
    eventually(lambda: not first.process.alive(), "the first is killed")

    eventually(second.process.leads, "the second works", seconds=TAKE_OVER_SECONDS)

    assert ready(user) == "2/2"
    assert {name for kind, name in children(user, "chat") if kind == "StatefulSet"} == {"chat-r0", "chat-r1"}


def test_pitfall_13_of_two_operators_one_that_was_away_for_long_writes_nothing_when_it_is_back(
    user: Kubectl, pair: tuple[Witnessed, Witnessed]
) -> None:
    first, second = pair
    user.apply(deployment(replicas=2))
    assert ready(user) == "2/2"
    first.process.process.send_signal(signal.SIGSTOP)
    written = len(first.strike.writes)
    user("scale", "gptoss", "chat", "--replicas=3")
    eventually(second.process.leads, "the second works", seconds=TAKE_OVER_SECONDS)
    assert ready(user) == "3/3"
    # To be put right by whoever works: the first sees it when it wakes.
    user("patch", "service/chat", "--type=merge", "-p", '{"spec":{"publishNotReadyAddresses":true}}')

    first.process.process.send_signal(signal.SIGCONT)

    eventually(lambda: not first.process.alive(), "the first ends, to be started again")
    assert first.process.process.returncode == LOST_STATUS
    assert f"Lease {user.namespace}/{LEASE} is lost" in first.process.log.read_text()
    assert first.strike.writes[written:] == []
    assert second.process.leads()
    assert ready(user) == "3/3"


def test_the_rights_that_the_chart_grants_are_enough(
    installed: Cluster, namespace: str, user: Kubectl, tmp_path: Path
) -> None:
    with granted(installed, namespace, tmp_path) as kubeconfig:
        lease = f"rights-{namespace}-gptoss-operator"
        with OperatorProcess(
            installed, namespace, tmp_path / "operator.log", kubeconfig=kubeconfig, lease=lease
        ) as operator:
            eventually(operator.leads, "it works")
            assert holder(user, lease)
            assert operator.stop() == 0
        assert holder(user, lease) == ""
