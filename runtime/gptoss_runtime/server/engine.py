"""Ask vLLM, over loopback, how it is. Every question has a time-out; what fails is a value, not an exception."""

import asyncio

import aiohttp

from gptoss_runtime.server.verdict import Answer


HEALTH_TIMEOUT_SECONDS = 2.0
METRICS_TIMEOUT_SECONDS = 3.0


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
        try:
            async with self._session.get(f"{self._base}/load", timeout=_within(HEALTH_TIMEOUT_SECONDS)) as response:
                load = (await response.json())["server_load"] if response.ok else None
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
            return None
        return load if isinstance(load, int) else None

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
