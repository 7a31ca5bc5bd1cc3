"""What is simulated: one replica, one price list, days of traffic and spot markets."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.sim.contract import Market, ReplicaModel, ZoneChange
from gptoss_operator.sim.market import ZONES, MarketKind
from gptoss_operator.sim.models import preset
from gptoss_operator.sim.report.recipes import MACHINES, MadeUp, Notice, Recipe, Recorded


DAY: Final = 86_400.0
PEAK_TIME: Final = 16 * 3600.0
"""Of the synthetic daily profile."""
REPLICA: Final = ReplicaModel(
    base_seconds=0.016,
    per_request_seconds=0.0014,
    prefill_tokens_per_second=15_000,
    max_num_seqs=16,
    kv_tokens=100_000,
    gpus=1,
)
"""A slow one: 16 requests at once, 38 ms per token, 0.66 requests per second of 600 tokens. So a day with few requests
takes a fleet of the usual size, and ten days of many policies are simulated in minutes."""
PRICES: Final = Prices(table={Place(capacity=CapacityType.ON_DEMAND): 10.0, Place(capacity=CapacityType.SPOT): 4.0})
"""Dollars per replica and hour. Spot at 0.4 of on-demand, as H100 machines in early 2026 about were."""
NOTICES: Final = (120.0, 30.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Sizes of the bench."""

    peak_per_second: float = 5.0
    duration: float = DAY
    evaluation: tuple[int, ...] = tuple(range(1, 11))
    tuning: tuple[int, ...] = (101, 102)
    """Seeds for choosing settings. None of them is among those for the evaluation."""
    markets: tuple[MarketKind, ...] = (MarketKind.MEDIUM, MarketKind.CALM, MarketKind.HARSH)
    requests: Path | None = None
    """A recorded log, and recorded markets below: one file for each zone."""
    spot: tuple[Path, ...] = ()
    day_of_two_million: bool = True
    peak_time: float = field(default=PEAK_TIME)

    def day(self, market: MarketKind | Market | None) -> Recipe:
        """Return a synthetic day on a market."""
        name = "on demand" if market is None else market.name if isinstance(market, Market) else f"{market} (synthetic)"
        return Recipe(
            name=name,
            traffic=MadeUp(peak_per_second=self.peak_per_second),
            market=market,
            duration=self.duration,
            replica=REPLICA,
            prices=PRICES,
            initial_replicas=5,
        )

    def recorded(self, *, on_spot: bool) -> Recipe | None:
        """Return a day made of recordings, None where none are given."""
        if self.requests is None or not self.spot:
            return None
        traffic = Recorded(path=self.requests, peak_per_second=RECORDED_SHARE * self.peak_per_second)
        return replace(
            self.day(None),
            name="recorded" if on_spot else "recorded, on demand",
            traffic=traffic,
            market=self.spot if on_spot else None,
        )

    def announced(self, seconds: float) -> Recipe:
        """Return a day on the medium market where every machine is told so long before, or none for zero."""
        notice = Notice(seconds=seconds, missing_share=0.0 if seconds else 1.0)
        day = self.day(MarketKind.MEDIUM)
        return replace(day, name=f"{day.name}, notice {seconds:.0f} s", notice=notice)

    def zone_loss(self) -> Recipe:
        """Return a day with spot machines in plenty, of which one zone loses all at the peak for an hour."""
        changes = (
            *(ZoneChange(at=0.0, zone=zone, machines=MACHINES) for zone in ZONES),
            ZoneChange(at=self.peak_time, zone=ZONES[0], machines=0),
            ZoneChange(at=self.peak_time + 3600, zone=ZONES[0], machines=MACHINES),
        )
        market = Market(name="zone loss (synthetic)", synthetic=True, zones=ZONES, changes=changes)
        return self.day(market)

    def blackout(self) -> Recipe:
        """Return a calm day where nothing can be measured for half an hour at the peak."""
        dark = ((self.peak_time, self.peak_time + 1800),)
        return replace(self.day(MarketKind.CALM), name="blackout (synthetic)", blackouts=dark)

    def idle(self) -> Recipe:
        """Return a day on the medium market with requests in two hours only.

        As many as one replica can serve in its bursts, since one that is always there is what it is compared with.
        """
        busy = (self.peak_time, self.peak_time + 7200)
        traffic = MadeUp(peak_per_second=self.peak_per_second / 16, busy=busy)
        return replace(self.day(MarketKind.MEDIUM), name="idle-heavy (synthetic)", traffic=traffic, initial_replicas=0)

    def two_million(self) -> Recipe:
        """Return a day of two million requests, with replicas as they are."""
        model = preset("gpt-oss-120b-h100-tp1").replica
        traffic = MadeUp(peak_per_second=39.0, answer_mean=300)
        return replace(self.day(MarketKind.MEDIUM), name="two million (synthetic)", traffic=traffic, replica=model)


RECORDED_SHARE: Final = 2.5
"""Requests of the recorded log are that much shorter than synthetic ones, so that the fleet has the usual size."""


def quick(requests: Path | None, spot: Sequence[Path]) -> World:
    """Return sizes that show that it runs, too small for any comparison."""
    return World(
        duration=4 * 3600.0,
        evaluation=(1, 2),
        tuning=(101,),
        markets=(MarketKind.MEDIUM,),
        requests=requests,
        spot=tuple(spot),
        day_of_two_million=False,
        peak_time=2 * 3600.0,
    )
