"""Asks the replicas how far they are, while requests wait for one; and the ready ones how long it took."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import aiohttp
from yarl import URL

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.haproxy.servers import addresses
from gptoss_runtime.activator.hold.cold_start import Outlook, StartTimes, look_ahead
from gptoss_runtime.contract import ContractError, ReplicaState


LOOK_SECONDS = 1.0
"""How often the replicas are asked while requests are held."""
LEARN_SECONDS = 60.0
"""How often the ready ones are asked otherwise."""
ANSWER_SECONDS = 0.5
"""How long a replica may take to answer."""
AT_ONCE = 16
"""Replicas that are asked at the same time."""

log = logging.getLogger("gptoss_runtime.activator")


class ColdStartWatch:
    """What is known of replicas that start."""

    def __init__(self, runtime: RuntimeApi, *, health_port: int) -> None:
        self._runtime = runtime
        self._health_port = health_port
        self._times = StartTimes()
        self._states: tuple[ReplicaState | None, ...] = ()

    def outlook(self) -> Outlook:
        """Return when a replica will be ready, as of the last look."""
        return look_ahead(self._states, self._times.typical_seconds())

    async def run(self, is_holding: Callable[[], bool]) -> None:
        """Look again and again, until cancelled; often while requests are held."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            since_look, was_holding = LEARN_SECONDS, False
            while True:
                holding = is_holding()
                # Once more when nothing is held any more: a start has just ended, and how long it took is news.
                if holding or was_holding or since_look >= LEARN_SECONDS:
                    await self._look(session, starting_too=holding)
                    since_look = 0.0
                was_holding = holding
                await asyncio.sleep(LOOK_SECONDS)
                since_look += LOOK_SECONDS

    async def _look(self, session: aiohttp.ClientSession, *, starting_too: bool) -> None:
        try:
            replicas = await self._runtime.replicas()
        except RuntimeApiError as error:
            log.debug("Cannot look for starting replicas: %s", error)
            return
        # Ready ones are worth asking only for how long their start took.
        servers = replicas.servers if starting_too else replicas.up()
        self._states = await self._ask_all(session, addresses(servers))
        for state in self._states:
            if state is not None:
                self._times.learn(state)

    async def _ask_all(self, session: aiohttp.ClientSession, hosts: Sequence[str]) -> tuple[ReplicaState | None, ...]:
        places = asyncio.Semaphore(AT_ONCE)

        async def ask(host: str) -> ReplicaState | None:
            url = URL.build(scheme="http", host=host, port=self._health_port, path="/state")
            try:
                async with places, session.get(url) as response:
                    return ReplicaState.decode(await response.text())
            except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError, ContractError):
                # A replica that does not answer yet is the usual case here.
                return None

        return tuple(await asyncio.gather(*(ask(host) for host in hosts)))
