"""What makes another revision, and what does not."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_operator.core.render.options import RenderOptions
from gptoss_operator.core.rollout import revision as revisions
from gptoss_operator.core.rollout.revision import Resolved, changes_between, inputs_of, revision_of
from tests.core.builders import OPTIONS, a_spec
from tests.rollout.world import World, a_world


GOLDEN = Path(__file__).parent / "golden_revisions.yaml"
RESOLVED = Resolved(image="server:1", tensor_parallel=1)


def hash_of(spec: dict[str, Any], resolved: Resolved = RESOLVED) -> str:
    return revision_of(inputs_of(a_spec(**spec), resolved))


def recorded() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(GOLDEN.read_text())
    return found


@pytest.mark.parametrize("case", recorded(), ids=lambda case: str(case["name"]))
def test_the_same_input_has_the_same_hash_in_every_release(case: dict[str, Any]) -> None:
    assert hash_of(case["spec"]) == case["revision"], (
        "never change the file: see FIRST_DEFAULTS in core.rollout.revision"
    )


def test_a_default_that_a_release_changes_makes_no_other_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    said_nothing, said_the_first = hash_of({}), hash_of({"drainSeconds": 60})
    # As if 60 had been the default at first: who says 60 is whom the hash of "nothing" stands for now.
    monkeypatch.setattr(revisions, "FIRST_DEFAULTS", {"drainSeconds": 60})
    assert hash_of({"drainSeconds": 60}) == said_nothing
    assert hash_of({}) not in (said_nothing, said_the_first)


RESTARTS: dict[str, dict[str, Any]] = {
    "model": {"model": {"name": "gpt-oss-120b"}},
    "weights": {"model": {"name": "gpt-oss-20b", "source": {"huggingFace": {"repository": "a/b"}}}},
    "served name": {"model": {"name": "gpt-oss-20b", "servedName": "other"}},
    "engine": {"engine": {"maxModelLen": 4096}},
    "arguments": {"engine": {"extraArgs": ["--seed=1"]}},
    "GPU": {"gpu": {"resource": "amd.com/gpu"}},
    "nodes": {"gpu": {"nodeSelector": {"gpu": "h100"}}},
    "cache": {"cache": {"hostPath": {"path": "/cache"}}},
    "health": {"health": {"stallSeconds": 60}},
    "drain": {"drainSeconds": 60},
    "environment": {"pod": {"env": [{"name": "A", "value": "b"}]}},
    "memory": {"pod": {"resources": {"memory": "64Gi"}}},
    "trigger": {"rollout": {"trigger": "again"}},
}


@pytest.mark.parametrize("change", RESTARTS.values(), ids=RESTARTS)
def test_what_a_pod_can_only_get_by_a_restart_makes_another_revision(change: dict[str, Any]) -> None:
    assert hash_of(change) != hash_of({})


def test_the_number_of_gpus_and_the_image_that_were_resolved_count() -> None:
    assert hash_of({}, Resolved(image="server:1", tensor_parallel=2)) != hash_of({})
    assert hash_of({}, Resolved(image="server:2", tensor_parallel=1)) == hash_of(
        {"image": "server:2"}, Resolved(image="server:2", tensor_parallel=1)
    )


def test_the_fields_that_differ_are_named() -> None:
    before = inputs_of(a_spec(engine={"maxModelLen": 4096}), RESOLVED)
    after = inputs_of(a_spec(engine={"maxNumSeqs": 8}), Resolved(image="server:2", tensor_parallel=1))
    assert changes_between(before, after) == ("engine.maxModelLen", "engine.maxNumSeqs", "image")


WORDS = st.sampled_from(["a", "b", "team", "x1"])
UNIMPORTANT = st.one_of(
    st.fixed_dictionaries({"replicas": st.integers(1, 4)}),
    st.builds(lambda labels: {"pod": {"labels": labels}}, st.dictionaries(WORDS, WORDS, max_size=3)),
    st.builds(lambda notes: {"pod": {"annotations": notes}}, st.dictionaries(WORDS, WORDS, max_size=3)),
    st.builds(lambda name: {"pod": {"priorityClassName": name}}, WORDS),
    st.builds(lambda names: {"pod": {"imagePullSecrets": names}}, st.lists(WORDS, max_size=2, unique=True)),
    st.builds(lambda size: {"routing": {"queue": {"maxRequests": size}}}, st.integers(1, 5000)),
    st.builds(lambda how: {"routing": {"strategy": how}}, st.sampled_from(["RoundRobin", "LeastLoaded"])),
    st.builds(lambda number: {"routing": {"gateway": {"replicas": number}}}, st.integers(1, 4)),
    st.builds(lambda surge: {"rollout": {"maxSurge": surge}}, st.integers(1, 4)),
    st.builds(lambda how: {"rollout": {"strategy": how}}, st.sampled_from(["Auto", "Surge", "Replace", "BlueGreen"])),
    st.builds(lambda paused: {"rollout": {"paused": paused}}, st.booleans()),
    st.builds(
        lambda text: {"rollout": {"gates": {"prompts": [{"name": "p", "prompt": "Say it.", "contains": [text]}]}}},
        WORDS,
    ),
    st.builds(lambda gpu: {"gpu": {"type": gpu}}, st.sampled_from(["H100-80GB", "H200-141GB"])),
    st.builds(
        lambda dollars: {"prices": [{"capacityType": "OnDemand", "gpuHour": dollars}]}, st.sampled_from(["1", "2"])
    ),
    st.builds(lambda policy: {"upgradePolicy": policy}, st.sampled_from(["Never", "WithChange"])),
    # What the schema's defaults write into an object that did not say it.
    st.just({"drainSeconds": 120}),
    st.just({"health": {"stallSeconds": 30, "restartSeconds": 120}}),
    st.just({"interruption": {"cloud": "Auto"}}),
    st.just({"engine": {"maxNumSeqs": a_spec().engine.max_num_seqs}}),
    st.just({}),
)
RELEASES = st.builds(
    lambda number, policy: RenderOptions(
        server_image=f"server:{number}",
        gateway_image=f"gateway:{number}",
        activator_image=f"activator:{number}",
        image_pull_policy=policy,
        model_revisions={"gpt-oss-20b": f"commit{number}"},
    ),
    st.integers(1, 9),
    st.sampled_from(["Always", "IfNotPresent"]),
)


@pytest.fixture(scope="module")
def settled() -> World:
    return a_world(replicas=2, nodes=8, hears=False)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(UNIMPORTANT, min_size=1, max_size=3), release=st.one_of(st.none(), RELEASES))
@pytest.mark.timeout(120)
def test_what_needs_no_restart_restarts_nothing(
    settled: World, changes: list[dict[str, Any]], release: RenderOptions | None
) -> None:
    world, options = settled, release or OPTIONS
    running, least = world.uids(), len(world.images())
    revision = world.status["revision"]
    for change in changes:
        world.change(**change)
        world.options = options
        world.tick(3)
        least = min(least, int(world.body["spec"]["replicas"]))
    assert world.status["revision"] == revision
    assert len(running & world.uids()) >= min(least, len(running))
    assert not world.rollout
