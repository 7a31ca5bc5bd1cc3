"""Gateways and replicas whose documents are made by hand, at times of the test's choosing."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from gptoss_operator.api.names import COMPONENT_GATEWAY, COMPONENT_REPLICA, LABEL_SLOT
from gptoss_operator.core.objects import Pod, PodCondition
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.shell.loads import Loads
from gptoss_operator.shell.store import Key
from gptoss_runtime.contract import Counter, Gauge, Phase, ReplicaState, Verdict
from gptoss_runtime.gateway_contract import GatewayCounter, GatewayGauge, GatewayState
from tests.shell.builders import a_pod


CHAT = Key("demo", "chat")
START = 1000.0


def running_pod(name: str, component: str, address: str, *, ready: bool = True, phase: str = "Running") -> Pod:
    controller = "StatefulSet" if component == COMPONENT_REPLICA else "ReplicaSet"
    pod = a_pod(name, component, controller=controller)
    conditions = (PodCondition(type="Ready", status="True" if ready else "False"),)
    status = msgspec.structs.replace(pod.status, phase=phase, pod_ip=address, conditions=conditions)
    return msgspec.structs.replace(pod, status=status)


def a_gateway_pod(name: str, address: str = "127.0.0.31", *, ready: bool = True) -> Pod:
    return running_pod(f"chat-gateway-{name}", COMPONENT_GATEWAY, address, ready=ready)


def a_replica_pod(slot: int, address: str = "127.0.0.21", *, ready: bool = True) -> Pod:
    pod = running_pod(f"chat-r{slot}-0", COMPONENT_REPLICA, address, ready=ready)
    labels = {**pod.metadata.labels, LABEL_SLOT: str(slot)}
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, labels=labels))


IDLE = GatewayState(
    start_id="a",
    sequence=1,
    uptime_seconds=9999.0,
    counters={GatewayCounter.ARRIVALS: 0.0, GatewayCounter.SHED: 0.0},
    gauges={
        GatewayGauge.IN_FLIGHT: 0.0,
        GatewayGauge.QUEUED: 0.0,
        GatewayGauge.HELD: 0.0,
        GatewayGauge.OLDEST_HELD_SECONDS: 0.0,
    },
)
WORKING = ReplicaState(
    start_id="a",
    sequence=1,
    phase=Phase.READY,
    verdict=Verdict(ready=True, live=True, reason="vLLM is up"),
    uptime_seconds=9999.0,
    counters={Counter.REQUESTS_FINISHED: 0.0, Counter.PROMPT_TOKENS: 0.0, Counter.GENERATION_TOKENS: 0.0},
    gauges={Gauge.REQUESTS_RUNNING: 0.0, Gauge.REQUESTS_WAITING: 0.0, Gauge.REQUESTS_IN_FLIGHT: 0.0},
)


@dataclass
class World:
    """Gateways and replicas of one deployment, and the time."""

    gateways: list[Pod] = field(default_factory=lambda: [a_gateway_pod("a")])
    replicas: list[Pod] = field(default_factory=lambda: [a_replica_pod(0)])
    now: float = START

    def __post_init__(self) -> None:
        self.loads = Loads(clock=lambda: self.now)
        self.said: dict[str, GatewayState] = {}
        self.states: dict[str, ReplicaState] = {}

    def gateway_says(
        self,
        name: str = "a",
        *,
        arrived: float = 0,
        shed: float = 0,
        ttft_ms: dict[str, float] | None = None,
        restarted: bool = False,
        uptime_seconds: float = 9999.0,
        **gauges: float | None,
    ) -> None:
        """Let a gateway say the next document, with so much more counted since the one before."""
        uid = a_gateway_pod(name).metadata.uid
        before = self.said.get(uid, IDLE)
        if restarted:
            before = replace(IDLE, start_id=f"{before.start_id}+", sequence=0)
        counters: dict[str, float] = {
            GatewayCounter.ARRIVALS: before.counters[GatewayCounter.ARRIVALS] + arrived,
            GatewayCounter.SHED: before.counters[GatewayCounter.SHED] + shed,
        }
        now = {**IDLE.gauges, **gauges}
        self.said[uid] = replace(
            before,
            sequence=before.sequence + 1,
            uptime_seconds=uptime_seconds,
            counters=counters,
            gauges={name: value for name, value in now.items() if value is not None},
            ttft_ms=before.ttft_ms | {b: before.ttft_ms.get(b, 0.0) + n for b, n in (ttft_ms or {}).items()},
        )
        assert self.loads.take_gateway(CHAT, uid, self.said[uid])

    def replica_says(
        self,
        slot: int = 0,
        *,
        finished: float = 0,
        prompt: float = 0,
        generated: float = 0,
        restarted: bool = False,
        ready: bool = True,
        **gauges: float,
    ) -> None:
        """Let a replica say the next document."""
        uid = a_replica_pod(slot).metadata.uid
        before = self.states.get(uid, WORKING)
        if restarted:
            before = replace(WORKING, start_id=f"{before.start_id}+", sequence=0)
        gains = {
            Counter.REQUESTS_FINISHED: finished,
            Counter.PROMPT_TOKENS: prompt,
            Counter.GENERATION_TOKENS: generated,
        }
        self.states[uid] = replace(
            before,
            sequence=before.sequence + 1,
            counters={name: before.counters[name] + gain for name, gain in gains.items()},
            gauges={**WORKING.gauges, **gauges},
            verdict=replace(before.verdict, ready=ready),
        )
        self.loads.take_replica(CHAT, uid, self.states[uid])

    def every(self, seconds: float, times: int) -> Iterable[int]:
        """Let time pass, again and again."""
        for number in range(times):
            self.now += seconds
            yield number

    def load(self) -> Load:
        return self.loads.load(CHAT, self.gateways, self.replicas, self.states.get)
