"""The tenants' limits at this gateway: told to HAProxy, and agreed with the other gateways."""

import asyncio
import logging
import time
from collections.abc import Mapping

from gptoss_runtime.activator.haproxy.maps import Maps
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.tenants.datagrams import reports
from gptoss_runtime.activator.tenants.limits import NOTHING, TokenWindow, Use, read_table, share
from gptoss_runtime.activator.tenants.peers import Peers
from gptoss_runtime.activator.tenants.usage_port import UsagePort
from gptoss_runtime.gateway_contract import TENANT_TABLE, Map, Tier


ROUND_SECONDS = 0.25
"""How often gateways tell each other their use, and shares are reckoned."""
RESOLVE_SECONDS = 2.0
"""How often gateways look for each other."""

log = logging.getLogger("gptoss_runtime.activator")


class Quotas:
    """Rights of the tenants, what they use, and what is left to them here."""

    def __init__(self, maps: Maps, runtime: RuntimeApi, peers: Peers) -> None:
        self._maps = maps
        self._runtime = runtime
        self._peers = peers
        self._tiers: dict[str, Tier] = {}
        self._tokens: dict[str, TokenWindow] = {}
        self._failing = False

    def grant(self, tiers: Mapping[str, Tier]) -> None:
        """Let these be the tenants and their rights from now on, in HAProxy too."""
        self._tiers = {tenant: tier for tenant, tier in tiers.items() if has_limits(tier)}
        self._tokens = {tenant: window for tenant, window in self._tokens.items() if tenant in self._tiers}
        self.reckon()

    def count_tokens(self, tenant: str, tokens: int) -> None:
        """Count tokens of a tenant, if he has a limit for them."""
        tier = self._tiers.get(tenant)
        if tier and tier.tokens_per_minute:
            self._tokens.setdefault(tenant, TokenWindow()).add(tokens, time.monotonic())

    def reckon(self) -> None:
        """Tell HAProxy what each tenant may do here, from what he does everywhere."""
        now = time.monotonic()
        others = self._peers.others(now)
        rates, concurrency, blocked = {}, {}, {}
        for tenant, tier in self._tiers.items():
            uses = self._peers.uses(tenant, now) if others else []
            if tier.requests_per_second:
                rates[tenant] = str(share(tier.requests_per_second, [use.requests for use in uses]))
            if tier.concurrent_requests:
                concurrency[tenant] = str(share(tier.concurrent_requests, [use.running for use in uses]))
            if tier.tokens_per_minute:
                window = self._tokens.get(tenant) or TokenWindow()
                seconds = window.blocked_seconds(tier.tokens_per_minute, sum(use.tokens for use in uses), now)
                if seconds:
                    blocked[tenant] = str(seconds)
        self._maps.put(Map.RATES, rates)
        self._maps.put(Map.CONCURRENCY, concurrency)
        self._maps.put(Map.BLOCKED, blocked)

    async def keep(self, port: UsagePort) -> None:
        """Exchange reports with the other gateways and reckon anew, until cancelled."""
        while True:
            addresses = self._peers.addresses
            if addresses:
                port.send(reports(self._peers.identity, await self._own_uses()), addresses)
            self.reckon()
            await asyncio.sleep(ROUND_SECONDS)

    async def _own_uses(self) -> dict[str, Use]:
        now = time.monotonic()
        table = await self._table() if any(_is_tabled(tier) for tier in self._tiers.values()) else {}
        uses = {}
        for tenant in self._tiers:
            use = table.get(tenant, NOTHING)
            window = self._tokens.get(tenant)
            tokens = window.used(now) if window else 0
            uses[tenant] = Use(requests=use.requests, running=use.running, tokens=tokens)
        return uses

    async def _table(self) -> dict[str, Use]:
        try:
            table = read_table(await self._runtime.ask(f"show table {TENANT_TABLE}"))
        except (RuntimeApiError, ValueError) as error:
            if not self._failing:
                log.warning("The other gateways hear of no requests of this one for now: %s", error)
            self._failing = True
            return {}
        self._failing = False
        return table


async def find_gateways(peers: Peers, name: str) -> None:
    """Keep the addresses of the gateways as DNS has them, until cancelled."""
    loop = asyncio.get_running_loop()
    complaint = ""
    while True:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS * 2):
                found = await loop.getaddrinfo(name, None)
            peers.addresses = frozenset(str(entry[4][0]) for entry in found)
            complaint = ""
        except (OSError, TimeoutError) as error:
            # What was known stays: DNS is away for a moment, and gateways that are gone are silent.
            if str(error) != complaint:
                log.warning("The addresses of the gateways, %s, cannot be looked up for now: %s", name, error)
            complaint = str(error)
        await asyncio.sleep(RESOLVE_SECONDS)


def has_limits(tier: Tier) -> bool:
    """Return whether there is something that its tenants may not do without end."""
    return _is_tabled(tier) or bool(tier.tokens_per_minute)


def _is_tabled(tier: Tier) -> bool:
    return bool(tier.requests_per_second or tier.concurrent_requests)
