"""Ask vLLM, over loopback, how it is. Every question has a time-out; what fails is a value, not an exception."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from gptoss_runtime.server.books import CUT_PATH, IN_FLIGHT_PATH, NUMBERS_PATH, OWN_HEADER, TOKENS_PATH
from gptoss_runtime.server.deep import Models
from gptoss_runtime.server.telemetry import Answers
from gptoss_runtime.server.watchdog import Answer


HEALTH_TIMEOUT_SECONDS = 2.0
MOST_CONNECTIONS = 64
"""To vLLM at once. Whoever reads metrics takes some, and must not keep health questions waiting."""
METRICS_TIMEOUT_SECONDS = 3.0
CUT_TIMEOUT_SECONDS = 1.5
"""The middleware answers after a second, whatever its clients do."""
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTotals:
    """What the middleware counted since vLLM's start."""

    prompt: Mapping[str, int]
    """Tokens of prompts by tenant."""
    generation: Mapping[str, int]
    """Tokens of answers by tenant."""
    unsent_reports: int
    """Reports to gateways that could not be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What the middleware says of clients' requests."""

    in_flight: Mapping[str, int]
    """Unfinished ones by the client's address."""
    answers: Answers | None
    """None where it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of a request that a model answers."""

    status: int | None
    """None: no answer in time, or no connection."""
    document: Mapping[str, Any]
    """The answer's JSON object; empty when there is none."""


class Engine:
    """vLLM's HTTP side."""

    def __init__(self, session: aiohttp.ClientSession, port: int, *, cut_token: str) -> None:
        self._session = session
        self._base = f"http://localhost:{port}"
        self._cut_token = cut_token
        self._own = 0

    @property
    def own_requests(self) -> int:
        """Requests of ours that a model is answering now, which are no client's."""
        return self._own

    async def ask_health(self) -> Answer:
        """Return what `/health` says."""
        try:
            async with self._session.get(f"{self._base}/health", timeout=_within(HEALTH_TIMEOUT_SECONDS)) as response:
                return Answer.UP if response.ok else Answer.DOWN
        except TimeoutError:
            return Answer.SILENT
        except aiohttp.ClientError:
            return Answer.DOWN

    async def ask_in_flight(self) -> Mapping[str, int] | None:
        """Return how many unfinished requests of clients our middleware counts by address; None when it is silent.

        vLLM's own /load goes down twice for some clients that hang up, and never for answers that are cancelled.
        """
        requests = await self.ask_requests()
        return None if requests is None else requests.in_flight

    async def ask_requests(self) -> Requests | None:
        """Return what our middleware says of clients' requests; None when it is silent."""
        document = await self._ask(IN_FLIGHT_PATH)
        in_flight, over, failed = (document.get(key) for key in ("in_flight", "answers", "failed"))
        if not isinstance(in_flight, dict):
            return None
        answers = Answers(all=over, failed=failed) if isinstance(over, int) and isinstance(failed, int) else None
        return Requests(in_flight=in_flight, answers=answers)

    async def ask_models(self) -> Models | None:
        """Return what vLLM lists as its models; None when it is silent."""
        document = await self._ask("/v1/models")
        try:
            return Models(lengths={entry["id"]: entry.get("max_model_len") for entry in document["data"]})
        except (KeyError, TypeError, AttributeError):
            return None

    async def ask_model(self, path: str, body: Mapping[str, Any], *, timeout_seconds: float) -> Reply:
        """Return what the model answers to a request of our own."""
        self._own += 1
        try:
            url, within = f"{self._base}{path}", _within(timeout_seconds)
            own = {OWN_HEADER: self._cut_token}
            async with self._session.post(url, json=body, headers=own, timeout=within) as response:
                try:
                    document = await response.json(content_type=None)
                except ValueError:
                    document = None
                return Reply(status=response.status, document=document if isinstance(document, dict) else {})
        except (aiohttp.ClientError, TimeoutError):
            return Reply(status=None, document={})
        finally:
            self._own -= 1

    async def cut(self) -> str:
        """Have the middleware end all open requests and refuse new ones.

        Returns what it says, for the log; empty when it does not answer.
        """
        return await self._change_cut("POST")

    async def lift_cut(self) -> bool:
        """Have the middleware let requests in again, and return whether it did."""
        return bool(await self._change_cut("DELETE"))

    async def _change_cut(self, method: str) -> str:
        url, within = f"{self._base}{CUT_PATH}/{self._cut_token}", _within(CUT_TIMEOUT_SECONDS)
        try:
            async with self._session.request(method, url, timeout=within) as response:
                return (await response.text()).strip() if response.ok else ""
        except (aiohttp.ClientError, TimeoutError):
            return ""

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

    async def read_numbers(self) -> tuple[str | None, bool]:
        """Return the few metrics that we need, None when there are none; and whether vLLM offers them alone."""
        status, text = await self._read(NUMBERS_PATH, HEALTH_TIMEOUT_SECONDS)
        return text, status != _NOT_FOUND

    async def read_metrics(self) -> str | None:
        """Return vLLM's exposition as it is; None when there is none."""
        _, text = await self._read("/metrics", METRICS_TIMEOUT_SECONDS)
        return text

    async def _read(self, path: str, timeout_seconds: float) -> tuple[int | None, str | None]:
        try:
            async with self._session.get(f"{self._base}{path}", timeout=_within(timeout_seconds)) as response:
                return response.status, await response.text() if response.ok else None
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            return None, None


def _within(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


def new_session() -> aiohttp.ClientSession:
    """Return a session that never goes through a proxy and keeps no cookies. Call in a running event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(loop=asyncio.get_running_loop()),
        trust_env=False,
    )
