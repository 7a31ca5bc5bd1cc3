"""How scenarios are made: traffic and market of a seed, the same for every policy."""

import json
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.sim.contract import Market, ReplicaModel, Request, Scenario, Stages
from gptoss_operator.sim.logs import LogFormat, read_requests
from gptoss_operator.sim.made_up import SWING, synthetic_requests, tiled
from gptoss_operator.sim.market import NO_SPOT, MarketKind, recorded_market, synthetic_market


HOUR: Final = 3600.0
MACHINES: Final = 32
"""Spot machines of a zone at most: more than any policy here asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    """Synthetic traffic. The profile's peak is at 16:00, its trough at 4:00."""

    peak_per_second: float
    answer_mean: float = 600.0
    busy: tuple[float, float] | None = None
    """From when until when there are requests, in seconds since the beginning. None: always."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Requests of a log, repeated where more time or another rate is asked for."""

    path: Path
    log_format: LogFormat | None = None
    peak_per_second: float | None = None
    """The rate at the peak of a daily profile that it is repeated with. None: as it is, without one."""
    is_repeated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """How machines are announced to go, instead of what the market has."""

    seconds: float
    missing_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A scenario for each seed. `name` stands in tables; of equal recipes one scenario is kept."""

    name: str
    traffic: MadeUp | Recorded
    market: MarketKind | tuple[Path, ...] | Market | None
    """A synthetic one, one file for each zone, one that is given, or none: no spot machines."""
    duration: float
    replica: ReplicaModel
    prices: Prices
    stages: Stages = field(default_factory=Stages)
    notice: Notice | None = None
    ttft_seconds: float = 5.0
    drain_seconds: float = 120.0
    initial_replicas: int = 1
    blackouts: tuple[tuple[float, float], ...] = ()

    @property
    def synthetic(self) -> bool:
        """Return whether traffic or market is made up. A recording that is repeated with another rate is not."""
        made_up = isinstance(self.market, MarketKind) or (isinstance(self.market, Market) and self.market.synthetic)
        return made_up or isinstance(self.traffic, MadeUp)

    def scenario(self, seed: int) -> Scenario:
        """Return the scenario of `seed`. Raises `ScenarioError` for a file that cannot be used."""
        market = self._market(seed)
        if self.notice:
            market = replace(market, notice_seconds=self.notice.seconds, notice_missing_share=self.notice.missing_share)
        return Scenario(
            name=self.name,
            requests=self._requests(seed),
            duration=self.duration,
            replica=self.replica,
            stages=self.stages,
            # The market speaks for the scenario when a figure is labelled.
            market=replace(market, synthetic=self.synthetic),
            prices=self.prices,
            ttft_seconds=self.ttft_seconds,
            drain_seconds=self.drain_seconds,
            initial_replicas=self.initial_replicas,
            blackouts=self.blackouts,
        )

    def _requests(self, seed: int) -> Sequence[Request]:
        traffic = self.traffic
        if isinstance(traffic, MadeUp):
            made = synthetic_requests(
                self.duration,
                peak_per_second=traffic.peak_per_second,
                seed=seed,
                answer_mean=traffic.answer_mean,
            )
            if traffic.busy is None:
                return made
            return made[bisect_left(made.at, traffic.busy[0]) : bisect_left(made.at, traffic.busy[1])]
        log = read_requests(traffic.path, traffic.log_format).requests
        length = log.at[-1] - log.at[0]
        if traffic.peak_per_second is not None:
            scale = traffic.peak_per_second / (1 + SWING) * length / len(log)
            return tiled(log, self.duration, seed, scale, is_daily=True)
        return tiled(log, self.duration, seed) if traffic.is_repeated and length < self.duration else log

    def _market(self, seed: int) -> Market:
        match self.market:
            case None:
                return NO_SPOT
            case Market():
                return self.market
            case MarketKind():
                return synthetic_market(self.market, duration=self.duration, seed=seed, machines=MACHINES)
            case paths:
                start = _start(paths, self.duration, seed)
                return recorded_market(paths, duration=self.duration, machines=MACHINES, start=start)


def recorded_seconds(paths: Sequence[Path]) -> float:
    """Return how long all of the recorded markets last. What is wrong with a file is said when it is read."""
    lengths = []
    for path in paths:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            lengths.append(float(document["metadata"]["gap_seconds"]) * len(document["data"]))
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0
    return min(lengths, default=0.0)


def _start(paths: Sequence[Path], duration: float, seed: int) -> float:
    """Return where in recordings a seed begins, at a full hour."""
    hours = int((recorded_seconds(paths) - duration) // HOUR)
    return HOUR * random.Random(f"{seed}/start").randint(0, hours) if hours > 0 else 0.0  # noqa: S311 - no secret
