"""What can be measured at a moment: the `View` of a policy. It looks at what has happened, never ahead."""

from bisect import bisect_right
from collections.abc import Sequence

from gptoss_operator.core.placement.places import Stage
from gptoss_operator.core.scaling.load import Load, ReplicaLoad
from gptoss_operator.sim.contract import Scenario, View
from gptoss_operator.sim.fleet import Fleet
from gptoss_operator.sim.gateway import Gateway
from gptoss_operator.sim.replica import Replica


GATEWAY_AGE_SECONDS = 1.0
"""How old gateways' documents usually are."""
KNOWN_SECONDS = 10.0
"""For how long requests must have been counted before there is a rate."""
STEADY_SECONDS = 1.0
"""A replica's rate of tokens is over at least so long."""


class Watch:
    """Measures gateways and replicas, except during blackouts."""

    def __init__(self, scenario: Scenario, arrivals: Sequence[float], gateway: Gateway, fleet: Fleet) -> None:
        """`arrivals`: when requests come, of which it only counts those of the past."""
        self._scenario = scenario
        self._arrivals = arrivals
        self._gateway = gateway
        self._fleet = fleet
        self._last_rates_at = 0.0
        self._rates: dict[int, float] = {}
        self._epoch = scenario.start_of_week
        self._unbroken_since = 0.0
        """Since when everything could be measured."""

    def is_blind(self, now: float) -> bool:
        """Return whether nothing can be measured."""
        return self._blind_since(now) is not None

    def view(self, now: float) -> View:
        """Return what a policy sees. Interruptions and refusals are said once."""
        fleet = self._fleet
        blind_since = self._blind_since(now)
        blind = blind_since is not None
        load = self._blind(now - (blind_since or 0.0)) if blind else self._load(now)
        view = View(
            now=self._epoch + now,
            load=load,
            replicas=tuple(
                replica.placed(None if blind else replica.batch.in_flight, self._epoch)
                for replica in fleet.replicas.values()
            ),
            interruptions=tuple(fleet.told),
            refused=tuple(fleet.cloud.refused),
            prices=self._scenario.prices,
            zones=self._scenario.market.zones,
            cold_start=fleet.cold_start(),
        )
        fleet.told.clear()
        fleet.cloud.refused.clear()
        return view

    def rate(self, now: float, seconds: float, ago: float = 0.0) -> float | None:
        """Return requests per second over the `seconds` that ended `ago` seconds before `now`. None: not known yet."""
        end = now - ago
        begin = max(0.0, end - seconds)
        if end - begin < min(seconds, KNOWN_SECONDS):
            return None
        number = bisect_right(self._arrivals, end) - bisect_right(self._arrivals, begin)
        return number / (end - begin)

    def _blind_since(self, now: float) -> float | None:
        for begin, end in self._scenario.blackouts:
            if begin <= now < end:
                self._unbroken_since = end
                return begin
        return None

    def _blind(self, age: float) -> Load:
        return Load(gateway_age_seconds=age + GATEWAY_AGE_SECONDS)

    def _load(self, now: float) -> Load:
        gateway = self._gateway
        waiting = gateway.waiting
        oldest = gateway.oldest()
        held = waiting if not gateway.open else 0
        busy = bool(waiting or gateway.in_flight)
        self._take_rates(now)
        return Load(
            gateway_age_seconds=GATEWAY_AGE_SECONDS,
            arrivals_1m=self.rate(now, 60.0),
            arrivals_5m=self.rate(now, 300.0) if now > 60.0 else None,  # noqa: PLR2004 - by its definition
            arrivals_earlier=self.rate(now, 60.0, ago=300.0) if now >= 360.0 else None,  # noqa: PLR2004 - the same
            queued=waiting - held,
            held=held,
            oldest_wait_seconds=now - oldest.at if oldest is not None and held else 0.0,
            in_flight=gateway.in_flight,
            idle_seconds=0.0 if busy else now - max(gateway.idle_since, self._unbroken_since),
            ttft_p95_seconds=gateway.first_tokens.p95(now),
            work=gateway.work.sums(now),
            replicas={
                slot: self._says(replica)
                for slot, replica in self._fleet.replicas.items()
                if replica.stage is Stage.READY and not replica.is_dead(now)
            },
        )

    def _take_rates(self, now: float) -> None:
        """Count the tokens of every replica since they were last counted."""
        passed = now - self._last_rates_at
        if passed < STEADY_SECONDS:
            return
        self._last_rates_at = now
        rates = {}
        for slot, replica in self._fleet.replicas.items():
            if replica.at_gateway:
                replica.batch.advance(now)
                rates[slot] = (replica.batch.tokens - replica.tokens_before) / passed
                replica.tokens_before = replica.batch.tokens
        self._rates = rates

    def _says(self, replica: Replica) -> ReplicaLoad:
        batch, model = replica.batch, self._scenario.replica
        return ReplicaLoad(
            running=batch.running,
            waiting=len(batch.evicted),
            in_flight=batch.in_flight,
            kv_usage=min(1.0, batch.kv / model.kv_tokens),
            tokens_per_second=self._rates.get(replica.slot),
            max_num_seqs=model.max_num_seqs,
            kv_tokens=model.kv_tokens,
        )
