from typing import Any

import pytest

from gptoss_operator.api.status import GptOssStatus
from gptoss_operator.api.status_rollout import RefusedRevision, RolloutPhase, RolloutStatus
from gptoss_operator.core.actions import Plan
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry
from tests.shell.builders import a_body
from tests.shell.test_reconcile import Passes


CHAT = Key("demo", "chat")
AT = "2026-01-01T00:00:00Z"


def a_rollout(phase: RolloutPhase = RolloutPhase.PROGRESSING, *, step: int = 1, updated: int = 0) -> RolloutStatus:
    return RolloutStatus(
        revision="b",
        phase=phase,
        strategy="Surge",
        reason="x",
        step=step,
        steps=4,
        updated=updated,
        started_at=AT,
        progressed_at=AT,
    )


def a_refusal(revision: str = "b") -> RefusedRevision:
    return RefusedRevision(revision=revision, reason="GateFailed", message="x", at=AT)


def written(status: GptOssStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def shown(telemetry: Telemetry) -> dict[str, float]:
    """Return what is shown of rollouts, by metric and by the label that is the metric's own."""
    found = {}
    for metric in telemetry.registry.collect():
        for sample in metric.samples:
            if sample.name.startswith("gptoss_operator_rollout"):
                assert (sample.labels.pop("namespace"), sample.labels.pop("name")) == CHAT
                name = sample.name.removeprefix("gptoss_operator_")
                found[" ".join([name, *sample.labels.values()])] = sample.value
    return found


def test_nothing_is_shown_without_a_rollout() -> None:
    telemetry = Telemetry()
    telemetry.rollouts.show(CHAT, None)
    telemetry.rollouts.show(CHAT, written(GptOssStatus(current_revision="a")))

    assert shown(telemetry) == {}


def test_a_rollout_is_shown_as_far_as_it_is_until_it_ends() -> None:
    telemetry = Telemetry()

    telemetry.rollouts.show(CHAT, written(GptOssStatus(rollout=a_rollout())))
    assert shown(telemetry) == {
        "rollout_updated_replicas": 0,
        "rollout_step": 1,
        "rollout_steps": 4,
        "rollout_phase Progressing": 1,
    }
    telemetry.rollouts.show(CHAT, written(GptOssStatus(rollout=a_rollout(RolloutPhase.PAUSED, step=2, updated=1))))
    assert shown(telemetry) == {
        "rollout_updated_replicas": 1,
        "rollout_step": 2,
        "rollout_steps": 4,
        "rollout_phase Paused": 1,
    }
    telemetry.rollouts.show(CHAT, written(GptOssStatus()))
    assert shown(telemetry) == {}


def test_a_refused_revision_is_shown_while_the_spec_asks_for_it() -> None:
    telemetry = Telemetry()

    telemetry.rollouts.show(CHAT, written(GptOssStatus(refused_revision=a_refusal())))
    assert shown(telemetry) == {"rollout_refused": 1}
    telemetry.rollouts.show(CHAT, written(GptOssStatus()))
    assert shown(telemetry) == {}


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [
        (GptOssStatus(), GptOssStatus(current_revision="a"), None),
        (GptOssStatus(current_revision="a"), GptOssStatus(current_revision="a", rollout=a_rollout()), None),
        (GptOssStatus(current_revision="a", rollout=a_rollout()), GptOssStatus(current_revision="b"), "complete"),
        (GptOssStatus(current_revision="a"), GptOssStatus(), None),
        (
            GptOssStatus(current_revision="a", rollout=a_rollout()),
            GptOssStatus(
                current_revision="a", rollout=a_rollout(RolloutPhase.ROLLING_BACK), refused_revision=a_refusal()
            ),
            "rolled_back",
        ),
        (
            GptOssStatus(current_revision="a", rollout=a_rollout()),
            GptOssStatus(current_revision="a", rollout=a_rollout(RolloutPhase.FAILED), refused_revision=a_refusal()),
            "failed",
        ),
        (GptOssStatus(refused_revision=a_refusal()), GptOssStatus(refused_revision=a_refusal()), None),
        (GptOssStatus(refused_revision=a_refusal()), GptOssStatus(refused_revision=a_refusal("c")), "rolled_back"),
        (GptOssStatus(current_revision="a", refused_revision=a_refusal()), GptOssStatus(current_revision="a"), None),
    ],
    ids=[
        "the first revision",
        "begun",
        "complete",
        "a status that cannot be read",
        "rolled back",
        "failed",
        "refused as before",
        "another one refused",
        "given up",
    ],
)
def test_ends_are_counted_by_their_result(before: GptOssStatus, after: GptOssStatus, result: str | None) -> None:
    telemetry = Telemetry()

    telemetry.rollouts.count_end(CHAT, written(before), written(after))

    assert shown(telemetry) == ({f"rollouts_total {result}": 1} if result else {})


def test_rollouts_are_shown_by_passes_and_their_ends_count_once_until_the_object_is_gone() -> None:
    passes = Passes(Plan(status=GptOssStatus(current_revision="a", rollout=a_rollout()), reason="x"))
    passes.hands.bodies.deliver(a_body(status={"currentRevision": "a"}))

    passes.once()
    assert shown(passes.telemetry)["rollout_phase Progressing"] == 1
    passes.plan = Plan(status=GptOssStatus(current_revision="b"), reason="x")
    passes.hands.bodies.deliver(a_body(version=20, status=written(GptOssStatus(current_revision="a"))))
    passes.once()
    assert shown(passes.telemetry) == {"rollouts_total complete": 1}
    passes.hands.bodies.deliver(a_body(version=30, status=written(GptOssStatus(current_revision="b"))))
    passes.once()
    assert shown(passes.telemetry) == {"rollouts_total complete": 1}

    passes.telemetry.forget(CHAT)
    assert shown(passes.telemetry) == {}
