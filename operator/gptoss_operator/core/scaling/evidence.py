"""What is known now of a deployment's requests: `Load` without what is stale or no measurement."""

from dataclasses import dataclass
from typing import Final

from gptoss_operator.core.scaling.load import Load, known
from gptoss_operator.core.scaling.supply import Supply


MOST: Final = 1e9
"""No quantity of a deployment is greater; what is, counts as this, so that sums and products stay finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Numbers that are known. None: not known, or the gateways' documents are stale."""

    fresh: bool
    """Whether all gateways have been heard a moment ago."""
    arrivals_1m: float | None
    arrivals_5m: float | None
    arrivals_earlier: float | None
    queued: float | None
    """Where not all gateways are fresh, what those that are have: there may be more, not less."""
    held: float | None
    """The same."""
    in_flight: float | None
    idle_seconds: float | None
    ttft_seconds: float | None
    replicas: int
    """Replicas that said anything of their load."""
    running: float
    """Requests that these run."""
    own_waiting: float
    """Requests in their own queues."""
    kv: float
    """Sum of the shares of their key-value caches."""
    kv_missing: int
    """Ready replicas that did not say that share."""
    queue_missing: int
    """Ready replicas that did not say what they run or what waits in their own queue."""

    @property
    def complete(self) -> bool:
        """Whether all is known that must be known before a replica is removed."""
        numbers = (self.arrivals_1m, self.arrivals_5m, self.queued, self.held, self.in_flight)
        return self.fresh and all(number is not None for number in numbers)

    @property
    def nothing(self) -> bool:
        """Whether nothing at all is known."""
        numbers = (self.arrivals_1m, self.arrivals_5m, self.queued, self.held, self.in_flight)
        return not self.replicas and all(number is None for number in numbers)

    @property
    def waiting(self) -> float:
        """Requests that are known to wait anywhere."""
        return (self.queued or 0.0) + (self.held or 0.0) + self.own_waiting

    @property
    def hidden(self) -> float:
        """Requests that gateways count at replicas which did not say what they do with them."""
        if not self.queue_missing:
            return 0.0
        return max(0.0, (self.in_flight or 0.0) - self.running - self.own_waiting)

    @property
    def asked(self) -> bool:
        """Whether a request is known to be anywhere now."""
        return self.waiting > 0 or (self.in_flight or 0.0) > 0 or self.running > 0


def evidence_of(load: Load, supply: Supply, stale_seconds: float) -> Evidence:
    """Return what of `load` is known. Old documents of gateways say nothing."""
    age = known(load.gateway_age_seconds)
    fresh = age is not None and age <= stale_seconds
    running = own_waiting = kv = 0.0
    said = said_kv = said_queue = 0
    for replica in load.replicas.values():
        here, queue, share = _number(replica.running), _number(replica.waiting), _number(replica.kv_usage)
        said += here is not None or queue is not None or share is not None
        said_queue += here is not None and queue is not None
        running += here or 0.0
        own_waiting += queue or 0.0
        if share is not None:
            said_kv += 1
            kv += min(share, 1.0)
    return Evidence(
        fresh=fresh,
        arrivals_1m=_number(load.arrivals_1m) if fresh else None,
        arrivals_5m=_number(load.arrivals_5m) if fresh else None,
        arrivals_earlier=_number(load.arrivals_earlier) if fresh else None,
        queued=_number(load.queued),
        held=_number(load.held),
        in_flight=_number(load.in_flight) if fresh else None,
        idle_seconds=known(load.idle_seconds) if fresh else None,
        ttft_seconds=known(load.ttft_p95_seconds) if fresh else None,
        replicas=said,
        running=running,
        own_waiting=own_waiting,
        kv=kv,
        kv_missing=max(0, supply.ready - said_kv),
        queue_missing=max(0, supply.ready - said_queue),
    )


def _number(value: float | None) -> float | None:
    found = known(value)
    return None if found is None else min(found, MOST)
