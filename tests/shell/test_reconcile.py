from datetime import datetime
from typing import Any

import pytest

from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.api.status_scaling import CostStatus, DecisionStatus
from gptoss_operator.core.actions import Apply, Plan, digest_of
from gptoss_operator.core.memory import Memory
from gptoss_operator.core.observation import ChildKey, Observation
from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.scaling.decision import Limit
from gptoss_operator.errors import Refused, Unavailable
from gptoss_operator.shell.reconcile import Reconciler
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from tests.shell.builders import OWNER, a_body, a_child, an_object, in_virtual_time
from tests.shell.recorder import Recorder, hands_of


CHAT = Key("demo", "chat")
OPTIONS = RenderOptions(server_image="s", gateway_image="g", activator_image="a")
MANIFEST = an_object("Service", "chat")
APPLY = Apply(manifest=MANIFEST, digest=digest_of(MANIFEST), exists=True, reason="it is missing")


class Passes:
    """A reconciler whose planner gives the same plan each time, and what the planner saw."""

    def __init__(self, plan: Plan, *, exists: bool = True) -> None:
        self.recorder = Recorder()
        self.hands = hands_of(self.recorder)
        self.telemetry = Telemetry()
        self.seen: list[Observation] = []
        self.given: list[Memory | None] = []
        self.plan = plan
        self.reconciler = Reconciler(
            hands=self.hands,
            options=OPTIONS,
            telemetry=self.telemetry,
            exists=lambda _key, _uid: exists,
            planner=self._decide,
        )

    def _decide(
        self, _body: dict[str, Any], seen: Observation, _options: RenderOptions, now: datetime, memory: Memory | None
    ) -> Plan:
        assert now.tzinfo is not None
        self.seen.append(seen)
        self.given.append(memory)
        return self.plan

    def once(self) -> float | None:
        return in_virtual_time(self.reconciler.reconcile_once(CHAT))

    def once_again_without_failure(self) -> None:
        self.recorder.answers.clear()
        self.once()

    def count(self, result: str) -> float | None:
        return self.telemetry.registry.get_sample_value("gptoss_operator_reconcile_total", {"result": result})


def test_a_quiet_pass_writes_nothing() -> None:
    passes = Passes(Plan(status=None, reason="settled"))
    passes.hands.bodies.deliver(a_body())

    assert passes.once() is None
    assert passes.recorder.calls == []
    assert passes.count("quiet") == 1


def test_an_object_that_is_gone_or_going_is_left_to_garbage_collection() -> None:
    unknown, gone, going = (Passes(Plan(status=None, reason="x"), exists=e) for e in (True, False, True))
    gone.hands.bodies.deliver(a_body())
    body = a_body()
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    going.hands.bodies.deliver(body)

    assert [passes.once() for passes in (unknown, gone, going)] == [None, None, None]
    assert unknown.seen == gone.seen == going.seen == []


def test_the_plan_says_when_to_look_again() -> None:
    passes = Passes(Plan(status=None, reason="waiting", look_again_in_seconds=12.0))
    passes.hands.bodies.deliver(a_body())

    assert passes.once() == 12.0


def test_a_new_problem_is_shown_soon_and_then_tried_again_now_and_then() -> None:
    passes = Passes(Plan(applies=(APPLY,), status=None, reason="x"))
    passes.hands.bodies.deliver(a_body())
    passes.recorder.answers["apply chat"] = Refused("exceeded quota")

    assert passes.once() == 1.0
    assert passes.once() == 30.0
    assert passes.seen[1].problems[ChildKey("Service", "chat")].reason == Reason.REFUSED_BY_CLUSTER


def test_a_pass_that_could_not_be_finished_fails_and_is_counted() -> None:
    passes = Passes(Plan(applies=(APPLY,), status=None, reason="x"))
    passes.hands.bodies.deliver(a_body())
    passes.recorder.answers["apply chat"] = Unavailable("no answer")

    with pytest.raises(Unavailable):
        passes.once()
    assert passes.count("error") == 1


def test_a_child_that_lost_its_label_is_found_by_name() -> None:
    passes = Passes(Plan(status=None, reason="x"))
    passes.hands.bodies.deliver(a_body())
    key = ChildKey("StatefulSet", "chat-r0")
    passes.hands.ledger.record(CHAT, key, a_child("chat-r0"), "digest", {})
    passes.recorder.existing[key] = an_object("StatefulSet", "chat-r0", version=4)

    passes.once()
    assert passes.seen[0].children[key].applied_digest is None

    del passes.recorder.existing[key]
    passes.once()
    passes.once()
    assert passes.recorder.calls == ["get chat-r0", "get chat-r0"], "what is gone is not asked for again"
    assert passes.seen[2].children == {}


def test_the_replica_counts_are_shown_until_the_object_is_gone() -> None:
    passes = Passes(Plan(status=GptOssStatus(replicas=3, ready_replicas=2, desired_replicas=4), reason="x"))
    passes.hands.bodies.deliver(a_body())

    passes.once()

    labels = {"namespace": OWNER.namespace, "name": OWNER.name}
    value = passes.telemetry.registry.get_sample_value
    assert value("gptoss_operator_deployment_replicas", labels | {"state": "ready"}) == 2
    assert value("gptoss_operator_deployment_replicas", labels | {"state": "desired"}) == 4
    passes.telemetry.forget(CHAT)
    assert value("gptoss_operator_deployment_replicas", labels | {"state": "ready"}) is None


def test_each_pass_is_given_what_the_one_before_it_remembers() -> None:
    first, second = Memory(starts=(1.0,)), Memory(starts=(2.0,))
    passes = Passes(Plan(status=None, reason="x", memory=first))
    passes.hands.bodies.deliver(a_body())

    passes.once()
    passes.plan = Plan(status=None, reason="the spec cannot be understood")
    passes.once()
    passes.plan = Plan(status=None, applies=(APPLY,), reason="x", memory=second)
    passes.recorder.answers["apply chat"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        passes.once()
    passes.once_again_without_failure()
    assert passes.given == [None, first, first, second]

    passes.reconciler.forget(CHAT)
    passes.once_again_without_failure()
    assert passes.given[-1] is None


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made again"])
def test_nothing_is_remembered_or_shown_of_an_object_that_went_during_its_pass(*, again: bool) -> None:
    passes = Passes(Plan(applies=(APPLY,), status=GptOssStatus(replicas=3), reason="x", memory=Memory(starts=(1.0,))))
    body = a_body()
    passes.hands.bodies.deliver(body)

    def goes() -> None:
        passes.hands.bodies.forget(CHAT, OWNER.uid)
        passes.reconciler.forget(CHAT)
        if again:
            passes.hands.bodies.deliver(a_body(version=99, uid="another"))

    passes.recorder.meanwhile["apply chat"] = goes
    assert passes.once() is None
    assert passes.given == [None]
    assert passes.reconciler.memories == {}
    labels = {"namespace": OWNER.namespace, "name": OWNER.name, "state": "desired"}
    assert passes.telemetry.registry.get_sample_value("gptoss_operator_deployment_replicas", labels) is None


def test_decisions_their_terms_and_the_cost_are_shown_until_the_object_is_gone() -> None:
    decision = DecisionStatus(at="2026-01-01T00:00:00Z", previous=2, replicas=3, reason="more")
    status = GptOssStatus(last_decision=decision, cost=CostStatus(hourly="9.50"))
    passes = Passes(Plan(status=status, terms={"rate": 2.5, "backlog": 1.0}, limit=Limit.UP_STEP, reason="x"))
    passes.hands.bodies.deliver(a_body())
    labels = {"namespace": OWNER.namespace, "name": OWNER.name}

    def value(metric: str, **more: str) -> float | None:
        return passes.telemetry.registry.get_sample_value(f"gptoss_operator_{metric}", labels | more)

    passes.once()
    assert (value("scaling_term", term="rate"), value("scaling_term", term="backlog")) == (2.5, 1.0)
    assert value("scaling_decisions_total", direction="Up", limit="UpStep") == 1
    assert value("cost_dollars_per_hour") == 9.5
    assert value("saved_dollars_last_day") is None

    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    passes.hands.bodies.deliver(a_body(version=99, status=written))
    later = status.model_copy(update={"cost": None})
    passes.plan = Plan(status=later, terms={"rate": 2.0}, limit=Limit.UP_STEP, reason="x")
    passes.once()
    assert value("scaling_decisions_total", direction="Up", limit="UpStep") == 1, "the same one counts once"
    assert (value("scaling_term", term="rate"), value("scaling_term", term="backlog")) == (2.0, None)
    assert value("cost_dollars_per_hour") is None

    passes.telemetry.forget(CHAT)
    assert value("scaling_term", term="rate") is None
    assert value("scaling_decisions_total", direction="Up", limit="UpStep") is None
