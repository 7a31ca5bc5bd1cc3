import pytest

from gptoss_operator.api.names import LABEL_MANAGED_BY, identity
from gptoss_operator.api.status import Reason
from gptoss_operator.core.observation import ChildKey, Problem
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.store import Key
from tests.shell.builders import a_child


CHAT = Key("demo", "chat")
PROBLEM = Problem(reason=Reason.REFUSED_BY_CLUSTER, message="quota exceeded")


def recorded(kind: str) -> tuple[Ledger, ChildKey]:
    ledger, key = Ledger(), ChildKey(kind, "x")
    ledger.record(CHAT, key, a_child("x", version=10, generation=2), "digest", identity("chat"))
    return ledger, key


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment", "PodDisruptionBudget", "Job"])
def test_a_status_change_of_a_kind_with_a_generation_is_no_drift(kind: str) -> None:
    ledger, key = recorded(kind)

    assert ledger.applied_digest(CHAT, key, a_child("x", version=99, generation=2)) == "digest"
    assert ledger.applied_digest(CHAT, key, a_child("x", version=11, generation=3)) is None


@pytest.mark.parametrize("kind", ["Service", "ConfigMap"])
def test_any_change_of_a_kind_without_a_generation_is_looked_into(kind: str) -> None:
    ledger, key = recorded(kind)

    assert ledger.applied_digest(CHAT, key, a_child("x", version=10)) == "digest"
    assert ledger.applied_digest(CHAT, key, a_child("x", version=11)) is None


def test_what_controllers_write_about_a_claim_is_no_drift() -> None:
    ledger, key = recorded("PersistentVolumeClaim")

    assert ledger.applied_digest(CHAT, key, a_child("x", version=99)) == "digest"


def test_another_object_of_the_same_name_is_not_the_one_that_was_applied() -> None:
    ledger, key = recorded("StatefulSet")

    assert ledger.applied_digest(CHAT, key, a_child("x", generation=2, uid="another")) is None


def test_a_label_that_was_taken_off_is_drift_though_the_generation_is_the_same() -> None:
    ledger, key = recorded("StatefulSet")
    live = a_child("x", generation=2)
    del live.metadata.labels[LABEL_MANAGED_BY]

    assert ledger.applied_digest(CHAT, key, live) is None


def test_a_new_process_knows_nothing() -> None:
    assert Ledger().applied_digest(CHAT, ChildKey("Service", "x"), a_child("x")) is None


def test_a_problem_is_news_once_and_lasts_until_an_apply_succeeds() -> None:
    ledger, key = Ledger(), ChildKey("Service", "x")

    assert ledger.refuse(CHAT, key, PROBLEM)
    assert not ledger.refuse(CHAT, key, PROBLEM)
    assert ledger.problems(CHAT) == {key: PROBLEM}
    ledger.record(CHAT, key, a_child("x"), "digest", {})
    assert ledger.problems(CHAT) == {}


def test_a_problem_ends_when_its_object_is_not_wanted_any_more() -> None:
    ledger, kept, dropped = Ledger(), ChildKey("Service", "x"), ChildKey("StatefulSet", "y")
    ledger.refuse(CHAT, kept, PROBLEM)
    ledger.refuse(CHAT, dropped, PROBLEM)

    ledger.retract_problems(CHAT, frozenset({kept}))

    assert ledger.problems(CHAT) == {kept: PROBLEM}


def test_nothing_is_left_of_a_deployment_that_is_gone() -> None:
    ledger, key = recorded("Service")
    ledger.refuse(CHAT, ChildKey("Service", "other"), PROBLEM)

    ledger.forget(CHAT)

    assert ledger.applied(CHAT) == frozenset()
    assert ledger.applied_digest(CHAT, key, a_child("x", version=10)) is None
    assert ledger.problems(CHAT) == {}
