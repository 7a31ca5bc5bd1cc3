"""What policies see and may do, and what a simulation is made of and gives. Times in seconds since its beginning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gptoss_operator.core.placement.places import Interruption, Place, PlacedReplica
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.core.scaling.supply import ColdStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of the traffic."""

    at: float
    prompt_tokens: int
    generation_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaModel:
    """How fast one replica is. Time of an iteration: `base + per_request * n + per_token * KV tokens`."""

    base_seconds: float
    per_request_seconds: float
    per_token_seconds: float = 0.0
    prefill_tokens_per_second: float = 30_000.0
    max_num_seqs: int = 128
    kv_tokens: int = 1_000_000
    gpus: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Median seconds of the lognormal stages of a cold start, and their sigma."""

    machine: float = 100.0
    load: float = 120.0
    warm: float = 50.0
    sigma: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChange:
    """From `at` on, `machines` spot machines can be had in `zone`; more than that are taken away.

    The first that is taken is told so at `at`, its siblings within the market's `spread_seconds`; each goes
    `notice_seconds` after that.
    """

    at: float
    zone: str
    machines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What spot machines there are and when they go. Policies never see it."""

    name: str
    synthetic: bool
    zones: tuple[str, ...]
    changes: tuple[ZoneChange, ...]
    """In the order of time. Before the first of a zone, machines without number can be had."""
    machine_hazard_per_hour: float = 0.0
    """Besides: each spot machine alone is taken away at this rate."""
    notice_seconds: float = 120.0
    notice_missing_share: float = 0.05
    """Share of machines that go without notice."""
    spread_seconds: float = 180.0
    refusal_seconds: float = 0.0
    """How long it takes until a refused machine is known to be refused. Zero: at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All but the policy and the seed."""

    name: str
    requests: Sequence[Request]
    """In the order of time."""
    duration: float
    replica: ReplicaModel
    stages: Stages
    market: Market
    prices: Prices
    ttft_seconds: float = 5.0
    """The target that attainment is counted by."""
    patience_seconds: float = 60.0
    """How long a client waits for the first token."""
    wake_patience_seconds: float = 900.0
    """How long one waits that is held because there is no replica."""
    drain_seconds: float = 120.0
    initial_replicas: int = 1
    """Ready at the beginning, on demand."""
    blackouts: tuple[tuple[float, float], ...] = ()
    """From when until when nothing can be measured."""
    start_of_week: float = 0.0
    """Seconds since 1970 of the beginning, for schedules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a policy sees at one moment: nothing of the future, nothing of the market but what happened to it.

    Its times are the scenario's `start_of_week` later than those of the simulation.
    """

    now: float
    load: Load
    replicas: tuple[PlacedReplica, ...]
    interruptions: tuple[Interruption, ...]
    """Those that were noticed since the last decision."""
    refused: tuple[Place, ...]
    """Machines that were refused since the last decision."""
    prices: Prices
    zones: tuple[str, ...]
    cold_start: ColdStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a policy wants done."""

    creates: tuple[Place, ...] = ()
    removes: tuple[int, ...] = ()
    """Slots."""
    target: int | None = None
    """What it aims at, for the plots."""


class Policy(Protocol):
    """One autoscaler. It keeps its own memory, and decides from views alone."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def interval_seconds(self) -> float:
        """Between two decisions."""
        ...

    @property
    def eager(self) -> bool:
        """Whether it is asked at once, too: when a request is held, a machine goes, or a replica becomes ready."""
        ...

    @property
    def drains_on_notice(self) -> bool:
        """Whether its replicas heed the notice of their machine's end: they take no new request from then on.

        If not, a replica stays ready and takes requests until its machine is gone, and only then is it an interruption.
        """
        ...

    def decide(self, view: View) -> Orders:
        """Return what to do now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One moment of the plots, each minute."""

    at: float
    arrivals: float
    """Requests per second."""
    waiting: int
    running: int
    target: int
    on_demand: int
    spot: int
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one simulation."""

    policy: str
    scenario: str
    seed: int
    synthetic: bool
    requests: int
    served: int
    within_target: int
    """Served requests whose first token came within the target."""
    failed: int
    """Requests that nobody served: the client gave up, or the end came first."""
    lost: int
    """Requests that broke off after their first token: what clients see of an interruption."""
    retried: int
    """Requests that began again elsewhere, unseen by the client."""
    ttft_p50: float
    ttft_p95: float
    ttft_p99: float
    itl_p99: float
    cost: float
    """Dollars, from the grant of a machine to its end."""
    output_tokens: float
    """Of requests within the target."""
    on_demand_hours: float
    spot_hours: float
    unready_hours: float
    """Of these, paid but not ready."""
    actions: int
    """Replicas that were created or removed by the policy."""
    reversals: int
    """Changes of the target's direction within ten minutes."""
    scale_downs: int
    interruptions: int
    held: int
    held_lost: int
    """Requests that were held for a replica and never served."""
    wakes: tuple[float, ...] = ()
    """How long the oldest held request waited at each start from zero."""
    decide_seconds: tuple[float, ...] = ()
    """How long decisions took. Not part of what must be equal from run to run."""
    points: tuple[Point, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def attainment(self) -> float:
        """Share of all requests that were served with their first token within the target."""
        return self.within_target / self.requests if self.requests else 1.0


class Progress(Protocol):
    """Told how far a simulation is."""

    def __call__(self, share: float, /) -> None:
        """Take in the share that is done, 0 to 1."""
        ...
