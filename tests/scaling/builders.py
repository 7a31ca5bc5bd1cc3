"""Loads, supplies and a small world for the tests of scaling."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gptoss_operator.core.scaling.decision import ScaleDecision, ScalingMemory
from gptoss_operator.core.scaling.fit import Fit
from gptoss_operator.core.scaling.load import Load, ReplicaLoad, Work
from gptoss_operator.core.scaling.policy import ScalingPolicy
from gptoss_operator.core.scaling.replicas import decide_replicas
from gptoss_operator.core.scaling.supply import Supply


NOW = 1_790_000_000.0
"""A Monday in September 2026, 13:33 UTC."""
TICK = 5.0
BASE_SECONDS, SLOPE_SECONDS = 0.008, 0.0001
"""How fast the replicas of these tests are: seconds per token, alone and for each request more."""
PROMPT, GENERATION = 500.0, 600.0
MAX_NUM_SEQS = 256.0
REPLICA_SECONDS = GENERATION * (BASE_SECONDS + SLOPE_SECONDS * MAX_NUM_SEQS) / MAX_NUM_SEQS
"""Of one request at `MAX_NUM_SEQS` at once, which keeps 50 ms per token."""
POLICY = ScalingPolicy(min_replicas=1, max_replicas=20, utilization=0.75, down_window_seconds=600.0)


def a_replica(running: float = 10.0, kv_usage: float | None = 0.1) -> ReplicaLoad:
    return ReplicaLoad(
        running=running,
        waiting=0.0,
        in_flight=running,
        kv_usage=kv_usage,
        tokens_per_second=running / (BASE_SECONDS + SLOPE_SECONDS * running),
        max_num_seqs=MAX_NUM_SEQS,
        kv_tokens=1_000_000.0,
    )


def a_load(arrivals: float = 1.0, ready: int = 1, running: float = 10.0) -> Load:
    """Return a fresh load without a trend, where each ready replica runs `running` requests."""
    return Load(
        gateway_age_seconds=1.0,
        arrivals_1m=arrivals,
        arrivals_5m=arrivals,
        arrivals_earlier=arrivals,
        queued=0.0,
        held=0.0,
        in_flight=running * ready,
        idle_seconds=0.0,
        ttft_p95_seconds=1.0,
        work=Work(requests=1000.0, prompt_tokens=1000 * PROMPT, generation_tokens=1000 * GENERATION),
        replicas={slot: a_replica(running) for slot in range(ready)},
    )


def no_load(ready: int = 0) -> Load:
    """Return a load that shows, freshly, that nobody has asked for a minute."""
    return replace(
        a_load(0.0, ready, 0.0),
        ttft_p95_seconds=None,
        work=Work(requests=0.0, prompt_tokens=0.0, generation_tokens=0.0),
        replicas={slot: a_replica(0.0, kv_usage=0.0) for slot in range(ready)},
        idle_seconds=60.0,
    )


def a_supply(ready: int, starting: int = 0) -> Supply:
    return Supply(existing=ready + starting, ready=ready, starting=starting)


def a_memory(target: int, replica_seconds: float | None = REPLICA_SECONDS) -> ScalingMemory:
    """Return the memory of an operator that has watched for long, decided `target` a moment ago, and knows the cost."""
    return ScalingMemory(
        target=target,
        since=NOW - 1e6,
        clock=NOW - TICK,
        fit=Fit(replica_seconds=replica_seconds, at_once=MAX_NUM_SEQS, max_num_seqs=MAX_NUM_SEQS),
    )


def repeated(
    load: Load, supply: Supply, memory: ScalingMemory, ticks: int, policy: ScalingPolicy = POLICY
) -> list[ScaleDecision]:
    """Return the decisions of so many ticks, where nothing changes but the memory."""
    decisions = []
    for tick in range(ticks):
        decisions.append(decide_replicas(policy, load, supply, memory, NOW + tick * TICK))
        memory = decisions[-1].memory
    return decisions


@dataclass
class World:
    """A fluid model: requests flow in, ready replicas serve them, the rest waits. It follows the decisions."""

    policy: ScalingPolicy
    arrivals: Callable[[float], float]
    """Requests per second by seconds since the beginning."""
    cold_start: float = 300.0
    ready: int = 1
    memory: ScalingMemory = field(default_factory=ScalingMemory)
    waiting: float = 0.0
    t: float = 0.0
    starts: list[float] = field(default_factory=list)
    """When those that start will be ready."""
    launches: int = 0
    seen: list[tuple[Load, Supply, float]] = field(default_factory=list)
    decisions: list[ScaleDecision] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        end = self.t + seconds
        while self.t < end:
            self.step()

    def step(self) -> None:
        self.ready += sum(1 for at in self.starts if at <= self.t)
        self.starts = [at for at in self.starts if at > self.t]
        rate = self.arrivals(self.t)
        most = self.ready / REPLICA_SECONDS
        served = min(most, rate + self.waiting / TICK)
        self.waiting = max(0.0, self.waiting + (rate - served) * TICK)
        supply = Supply(existing=self.ready + len(self.starts), ready=self.ready, starting=len(self.starts))
        load = self.load(served)
        decision = decide_replicas(self.policy, load, supply, self.memory, NOW + self.t)
        self.seen.append((load, supply, NOW + self.t))
        self.decisions.append(decision)
        self.memory = decision.memory
        for _ in range(decision.replicas - supply.existing):
            self.starts.append(self.t + self.cold_start)
            self.launches += 1
        for _ in range(supply.existing - decision.replicas):
            if self.starts:
                self.starts.pop()
            else:
                self.ready -= 1
        self.t += TICK

    def mean(self, begin: float, end: float) -> float:
        """Return the mean rate between two moments, as a gateway counts it."""
        steps = [begin + TICK * i for i in range(int((end - begin) / TICK))]
        return sum(self.arrivals(max(0.0, at)) for at in steps) / len(steps)

    def load(self, served: float) -> Load:
        ready = max(1, self.ready)
        each = served / ready * GENERATION
        running = min(MAX_NUM_SEQS, BASE_SECONDS * each / max(1e-9, 1 - SLOPE_SECONDS * each))
        held = self.waiting if not self.ready else 0.0
        return replace(
            a_load(0.0, self.ready, running),
            arrivals_1m=self.mean(self.t - 60, self.t),
            arrivals_5m=self.mean(self.t - 300, self.t),
            arrivals_earlier=self.mean(self.t - 360, self.t - 300),
            queued=self.waiting - held,
            held=held,
            ttft_p95_seconds=None,
            idle_seconds=0.0,
        )

    def targets(self) -> list[int]:
        return [decision.replicas for decision in self.decisions]
