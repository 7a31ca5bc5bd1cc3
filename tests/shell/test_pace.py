"""Which deployments get a pass in each interval."""

from typing import Any

import pytest

from gptoss_operator.shell.pace import Pace
from gptoss_operator.shell.store import Key
from tests.shell.builders import a_body


CHAT = Key("demo", "chat")
MODEL = {"model": {"name": "gpt-oss-20b"}}


@pytest.mark.parametrize(
    "spec",
    [
        {**MODEL, "scaling": {"minReplicas": 0, "maxReplicas": 4}},
        {**MODEL, "replicas": 3, "spot": {"enabled": True}},
    ],
    ids=["follows the load", "spot machines"],
)
def test_those_that_follow_the_load_or_have_spot_machines(spec: dict[str, Any]) -> None:
    assert Pace(lambda _: a_body() | {"spec": spec})(CHAT)


@pytest.mark.parametrize(
    "spec",
    [
        MODEL,
        {**MODEL, "replicas": 3},
        {**MODEL, "scaling": {"minReplicas": 2}},
        {"scaling": {"minReplicas": 0, "maxReplicas": 4}},
    ],
    ids=["default", "by hand", "fixed", "not understood"],
)
def test_all_others_stay_quiet(spec: dict[str, Any]) -> None:
    assert not Pace(lambda _: a_body() | {"spec": spec})(CHAT)


def test_a_spec_is_looked_at_again_when_it_changes() -> None:
    spec: dict[str, Any] = {**MODEL, "scaling": {"minReplicas": 0, "maxReplicas": 4}}
    bodies = {CHAT: a_body() | {"spec": spec}}
    pace = Pace(bodies.get)
    assert pace(CHAT)
    bodies[CHAT] = a_body() | {"spec": MODEL}
    assert pace(CHAT), "the generation says whether it changed"
    bodies[CHAT]["metadata"]["generation"] = 2
    assert not pace(CHAT)
    del bodies[CHAT]
    assert not pace(CHAT)


def test_an_object_that_is_gone_is_forgotten() -> None:
    bodies = {CHAT: a_body() | {"spec": {**MODEL, "scaling": {"minReplicas": 0, "maxReplicas": 4}}}}
    pace = Pace(bodies.get)
    assert pace(CHAT)
    bodies[CHAT] = a_body() | {"spec": MODEL}
    pace.forget(CHAT)
    assert not pace(CHAT)
