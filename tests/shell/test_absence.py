"""Since when a StatefulSet has been without a pod."""

from datetime import UTC, datetime, timedelta

from gptoss_operator.core.objects import Child, ObjectMeta, OwnerReference, Pod
from gptoss_operator.core.observation import ChildKey, Observation, ObservedChild, Owner
from gptoss_operator.shell.absence import Absences
from gptoss_operator.shell.store import Key


T0 = datetime(2026, 11, 22, tzinfo=UTC)
CHAT = Key("demo", "chat")


def seen(*, pods: int) -> Observation:
    child = ObservedChild(
        object=Child(metadata=ObjectMeta(name="r0", uid="u", resource_version="1")), applied_digest=None
    )
    owner = OwnerReference(uid="u", kind="StatefulSet", name="r0", controller=True)
    pod = Pod(metadata=ObjectMeta(name="r0-0", uid="p", resource_version="1", owner_references=(owner,)))
    return Observation(
        owner=Owner(name="chat", namespace="demo", uid="o", generation=1),
        children={ChildKey("StatefulSet", "r0"): child},
        replica_pods=(pod,) * pods,
    )


def test_time_runs_from_when_the_pod_was_first_missed() -> None:
    absences = Absences()
    assert absences.look(CHAT, seen(pods=0), T0) == {"r0": T0}
    assert absences.look(CHAT, seen(pods=0), T0 + timedelta(seconds=9)) == {"r0": T0}
    assert absences.look(CHAT, seen(pods=1), T0 + timedelta(seconds=10)) == {}
    again = T0 + timedelta(seconds=20)
    assert absences.look(CHAT, seen(pods=0), again) == {"r0": again}


def test_what_is_gone_is_forgotten() -> None:
    absences = Absences()
    absences.look(CHAT, seen(pods=0), T0)
    absences.forget(CHAT)
    later = T0 + timedelta(seconds=5)
    assert absences.look(CHAT, seen(pods=0), later) == {"r0": later}
