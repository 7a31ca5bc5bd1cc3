"""Keeps HAProxy's maps of API keys and priorities in step with the mounted Secret."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from gptoss_runtime.activator.haproxy.maps import Maps
from gptoss_runtime.activator.records.telemetry import Counts
from gptoss_runtime.activator.secret import POLL_SECONDS, MountedSecret
from gptoss_runtime.activator.tenants.keys import NOBODY, KeySet, read_keys
from gptoss_runtime.activator.tenants.quotas import Quotas
from gptoss_runtime.gateway_contract import PRIORITY_CLASSES, Map, Tier


MOST_PROBLEMS_LOGGED = 20

log = logging.getLogger("gptoss_runtime.activator")


class Access:
    """Who may send requests, from the Secret to HAProxy."""

    def __init__(self, directory: Path, tiers: Sequence[Tier], *, maps: Maps, quotas: Quotas, counts: Counts) -> None:
        self._secret = MountedSecret(directory)
        self._tiers = tiers
        self._maps = maps
        self._quotas = quotas
        self._counts = counts
        self._keys: KeySet = NOBODY

    def look(self) -> None:
        """Read the Secret if it has changed, and tell HAProxy. Raises OSError when a map cannot be written."""
        if not self._secret.changed():
            return
        keys = read_keys(self._secret.read(), self._tiers)
        self._maps.put(Map.KEYS, keys.tenants)
        self._maps.put(Map.PRIORITIES, _priorities(keys))
        self._quotas.grant(keys.tiers)
        self._report(keys)
        self._keys = keys

    async def keep(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.look()

    def _report(self, keys: KeySet) -> None:
        self._counts.bad_key_entries = len(keys.problems)
        new = [problem for problem in keys.problems if problem not in self._keys.problems]
        for problem in new[:MOST_PROBLEMS_LOGGED]:
            log.error("%s", problem)
        if len(new) > MOST_PROBLEMS_LOGGED:
            log.error("API keys: %d more entries are not used", len(new) - MOST_PROBLEMS_LOGGED)
        log.info("API keys: %d keys of %d tenants", len(keys.tenants), len(keys.tiers))
        if not keys.tenants:
            log.error("No API key is valid, so every request is refused; add keys to the Secret")


def _priorities(keys: KeySet) -> dict[str, str]:
    classes = {tenant: PRIORITY_CLASSES[tier.priority] for tenant, tier in keys.tiers.items()}
    return {tenant: str(number) for tenant, number in classes.items() if number}
