"""Ask vLLM, over loopback, how it is. Every question has a time-out; what fails is a value, not an exception."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from gptoss_runtime.server.books import IN_FLIGHT_PATH, TOKENS_PATH
from gptoss_runtime.server.verdict import Answer


HEALTH_TIMEOUT_SECONDS = 2.0
METRICS_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTotals:
    """What the middleware counted since vLLM's start."""

    prompt: Mapping[str, int]
    """Tokens of prompts by tenant."""
    generation: Mapping[str, int]
    """Tokens of answers by tenant."""
    unsent_reports: int
    """Reports to gateways that could not be sent."""


class Engine:
    """vLLM's HTTP side."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._base = f"http://localhost:{port}"

    async def ask_health(self) -> Answer:
        """Return what `/health` says."""
        try:
            async with self._session.get(f"{self._base}/health", timeout=_within(HEALTH_TIMEOUT_SECONDS)) as response:
                return Answer.UP if response.ok else Answer.DOWN
        except TimeoutError:
            return Answer.SILENT
        except aiohttp.ClientError:
            return Answer.DOWN

    async def ask_load(self) -> int | None:
        """Return how many requests vLLM's front holds; None when it does not say."""
        load = (await self._ask("/load")).get("server_load")
        return load if isinstance(load, int) else None

    async def ask_in_flight(self) -> Mapping[str, int] | None:
        """Return how many unfinished requests our middleware counts by the client's address; None when it is silent."""
        document = await self._ask(IN_FLIGHT_PATH)
        counts = document.get("in_flight")
        return counts if isinstance(counts, dict) else None

    async def ask_tokens(self) -> TokenTotals | None:
        """Return what our middleware counted of tokens; None when it is silent."""
        document = await self._ask(TOKENS_PATH)
        try:
            return TokenTotals(
                prompt={tenant: prompt for tenant, (prompt, _) in document["tokens"].items()},
                generation={tenant: generation for tenant, (_, generation) in document["tokens"].items()},
                unsent_reports=document["unsent_reports"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    async def _ask(self, path: str) -> dict[str, Any]:
        """Return the JSON object at `path`; empty when there is none."""
        try:
            async with self._session.get(f"{self._base}{path}", timeout=_within(HEALTH_TIMEOUT_SECONDS)) as response:
                document = await response.json() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    async def read_metrics(self) -> str | None:
        """Return vLLM's exposition as it is; None when there is none."""
        try:
            async with self._session.get(f"{self._base}/metrics", timeout=_within(METRICS_TIMEOUT_SECONDS)) as response:
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None


def _within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def new_session() -> aiohttp.ClientSession:
    """Return a session that never goes through a proxy and keeps no cookies. Call in a running event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=8),
        cookie_jar=aiohttp.DummyCookieJar(loop=asyncio.get_running_loop()),
        trust_env=False,
    )
