"""The other gateways of the deployment: which there are, and what the tenants do at each. Time is given in."""

from dataclasses import dataclass, field

from gptoss_runtime.activator.tenants.datagrams import Peer
from gptoss_runtime.activator.tenants.limits import NOTHING, Use


GONE_SECONDS = 2.0
"""A gateway that was silent for so long is gone. They speak every quarter of a second."""
STALE_SECONDS = 1.0
"""What was said of a tenant longer ago is over: idle tenants are not spoken of."""
MOST_TENANTS = 10_000
"""Tenants of one gateway that are kept; beyond them the oldest are forgotten."""


@dataclass(slots=True)
class _Gateway:
    heard: float
    uses: dict[str, tuple[Use, float]] = field(default_factory=dict)


@dataclass(slots=True)
class Peers:
    """What is known of the other gateways."""

    identity: str
    """What this gateway calls itself, to know its own reports."""
    addresses: frozenset[str] = frozenset()
    """Addresses of all gateways, this one among them; others are not listened to."""
    _gateways: dict[str, _Gateway] = field(default_factory=dict)

    def heard(self, report: Peer, address: str, now: float) -> bool:
        """Take a report. Returns False when its sender is no gateway of this deployment."""
        if address not in self.addresses:
            return False
        if report.id == self.identity:
            return True
        gateway = self._gateways.setdefault(address, _Gateway(now))
        gateway.heard = now
        for tenant, (requests, running, tokens) in report.uses.items():
            # To the end, so that the oldest are first.
            gateway.uses.pop(tenant, None)
            gateway.uses[tenant] = (Use(requests=requests, running=running, tokens=tokens), now)
        while len(gateway.uses) > MOST_TENANTS:
            del gateway.uses[next(iter(gateway.uses))]
        return True

    def others(self, now: float) -> int:
        """Return how many other gateways there are, and forget those that have gone."""
        gone = [address for address, gateway in self._gateways.items() if now - gateway.heard >= GONE_SECONDS]
        for address in gone:
            del self._gateways[address]
        return len(self._gateways)

    def uses(self, tenant: str, now: float) -> list[Use]:
        """Return what a tenant does at each of the other gateways."""
        said = [gateway.uses.get(tenant) for gateway in self._gateways.values()]
        return [use[0] if use and now - use[1] < STALE_SECONDS else NOTHING for use in said]
