"""Whatever is changed, lost or killed meanwhile: at most one replica is of a bad revision, and it ends as it should."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_operator.api import names
from gptoss_operator.core.observation import ChildKey
from tests.rollout.simulated import Alive, Behaviour, an_end
from tests.rollout.world import QUICK, TICK, World, a_node, a_world, image_of


FIRST = "server:1"
KINDS: dict[str, Callable[[], Behaviour]] = {
    "good": Behaviour,
    "wrong answers": lambda: Behaviour(answers=False),
    "never ready": lambda: Behaviour(starts=False),
    "ends at once": lambda: Behaviour(ends=an_end(), ends_after=timedelta(seconds=10)),
    "ends when it serves": lambda: Behaviour(ends=an_end(), ends_after=timedelta(seconds=40)),
    "no image": lambda: Behaviour(waiting="ErrImagePull"),
    "hangs": lambda: Behaviour(hangs_after=timedelta(seconds=10)),
}
UNSEEN = {"wrong answers", "hangs", "ends when it serves"}
"""What cannot be told from pods alone, or not before the replica counts as proven."""
ROOM = 12
"""Nodes that are always enough."""
QUIET_PASSES, MOST_PASSES = 6, 1500


@dataclass(kw_only=True)
class Storm:
    """A world with what was done to it."""

    world: World
    rollout: dict[str, Any]
    replicas: int
    wanted: str = FIRST
    kinds: dict[str, str] = field(default_factory=lambda: {FIRST: "good"})
    calm: bool = True
    """Whether nothing was lost and nothing scaled, so that only the rollout takes replicas away."""
    least: int = 99

    def tick(self, passes: int = 1) -> None:
        for _ in range(passes):
            self.world.tick()
            bad = [each for each in self.world.alive if each.leaves_at is None and self._kind(each) != "good"]
            assert len(bad) <= 1, f"{len(bad)} replicas of bad revisions"
            self.least = min(self.least, self.world.serving[-1])

    def do(self, event: tuple[str, Any]) -> None:
        match event:
            case "upgrade", kind:
                self.wanted = f"server:{len(self.kinds) + 1}"
                self.kinds[self.wanted] = kind
                self.world.upgrade(self.wanted, KINDS[kind](), **self.rollout)
            case "revert", _:
                self.wanted = FIRST
                self.world.change(image=self.wanted)
            case "scale", number:
                self.calm, self.replicas = False, number
                # Where no machine comes for its first replica, a revision is refused when the deadline is over.
                for more in range(len(self.world.nodes), number):
                    self.world.nodes[f"more-{more}"] = a_node(f"more-{more}")
                self.world.change(replicas=number)
            case "lose a node", number:
                self._lose(number)
            case "kill", writes:
                self.world.now += TICK
                self.world.go_on()
                self.world.pass_once(stop_after=writes)
                self.world.memory = None
            case "pause", passes:
                self.world.change(rollout={**QUICK, **self.rollout, "paused": True})
                self.tick(passes)
                self.world.change(rollout={**QUICK, **self.rollout})

    def end(self) -> None:
        """Go on until nothing is on its way. Fails when it does not come to that."""
        quiet = 0
        for _ in range(MOST_PASSES):
            self.tick()
            plan = self.world.plans[-1]
            idle = self.world.condition("Progressing")[0] == "False"
            quiet = quiet + 1 if idle and not (plan.applies or plan.deletes or plan.annotates) else 0
            if quiet >= QUIET_PASSES:
                return
        raise AssertionError(f"not settled: {self.world.plans[-1].reason}")

    def _lose(self, number: int) -> None:
        placed = [each for each in self.world.alive if each.pod.spec.node_name in self.world.nodes]
        if placed:
            self.calm = False
            lost = placed[number % len(placed)]
            self.world.lose_machine(lost)
            name = f"after-{lost.pod.metadata.uid}"
            self.world.nodes[name] = a_node(name)

    def _kind(self, each: Alive) -> str:
        key = ChildKey("StatefulSet", each.pod.metadata.name.removesuffix("-0"))
        manifest = self.world.manifests[key]
        if manifest["metadata"]["labels"][names.LABEL_REVISION] != each.pod.metadata.labels[names.LABEL_REVISION]:
            return "good"
        return self.kinds[image_of(manifest)]


EVENTS = st.one_of(
    st.tuples(st.just("upgrade"), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("upgrade"), st.sampled_from(sorted(KINDS))),
    st.tuples(st.just("revert"), st.none()),
    st.tuples(st.just("scale"), st.integers(1, 4)),
    st.tuples(st.just("lose a node"), st.integers(0, 5)),
    st.tuples(st.just("kill"), st.integers(0, 4)),
    st.tuples(st.just("pause"), st.integers(1, 10)),
)


@settings(max_examples=60, deadline=None)
@given(
    replicas=st.integers(1, 4),
    spare=st.integers(0, 4),
    unavailable=st.integers(0, 1),
    grows=st.booleans(),
    hears=st.booleans(),
    strategy=st.sampled_from(["Auto", "Replace", "Surge", "BlueGreen"]),
    events=st.lists(st.tuples(EVENTS, st.sampled_from([0, 1, 2, 5, 10, 30, 80])), min_size=1, max_size=5),
)
def test_any_storm_ends_well(
    *,
    replicas: int,
    spare: int,
    unavailable: int,
    grows: bool,
    hears: bool,
    strategy: str,
    events: list[tuple[tuple[str, Any], int]],
) -> None:
    # The others fail where there is no room.
    nodes = replicas + spare if strategy in {"Auto", "Replace"} else ROOM
    world = a_world(nodes=nodes, replicas=replicas, grows=grows, hears=hears)
    storm = Storm(world=world, rollout={"strategy": strategy, "maxUnavailable": unavailable}, replicas=replicas)
    for event, passes in events:
        storm.do(event if hears or event[1] not in UNSEEN else ("upgrade", "never ready"))
        storm.tick(passes)
    storm.end()
    images = world.images()
    assert len(images) == storm.replicas
    assert {storm.kinds[image] for image in images} == {"good"}
    if storm.kinds[storm.wanted] == "good":
        assert set(images) == {storm.wanted}
        assert world.condition("Progressing")[:2] == ("False", "Settled")
    else:
        assert world.status["refusedRevision"]["revision"] == world.status["revision"]
    if storm.calm:
        assert storm.least >= replicas - 1
