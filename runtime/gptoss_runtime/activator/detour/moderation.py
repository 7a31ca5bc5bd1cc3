"""Asks a moderation model whether a text is allowed."""

import asyncio
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry, Counter, Histogram

from gptoss_runtime.gateway_contract import ContentFilter


API_KEY_FILE = "api-key"
"""Entry of the filter directory."""
MAX_TOKENS = 1024
"""Length of the moderation model's answer. gpt-oss-safeguard thinks first, and its thoughts count."""
MAX_ANSWER_BYTES = 1024 * 1024
"""Larger than any answer of that length."""
TRIES = 2
"""A connection that was kept open may be closed by the other side in the moment it is used again."""

_OK = 200
_ALLOWED = re.compile(r"(?:0(?!\.?\d)|safe(?!\w))", re.IGNORECASE)
"""The word `0` or `safe` at the beginning: neither 0.9 nor `safety first` means allowed."""
_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Stage(StrEnum):
    """What is judged."""

    BEFORE = "before"
    """A request, before a replica sees it."""
    AFTER = "after"
    """An answer, before the client sees it."""


class Verdict(StrEnum):
    """What the moderation model said."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"
    """It said nothing that can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict and why; the reason is for the log, not for the client."""

    verdict: Verdict
    reason: str


def read_judgement(status: int, body: bytes) -> Judgement:
    """Return what a moderation model's answer means.

    Only the content counts: reasoning stands in fields of its own. What does not begin with 0 or `safe` refuses.
    """
    if status != _OK:
        return _failed(f"the moderation model answered with status {status}: {body[:200]!r}")
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return _failed(f"the moderation model answered no chat completion: {body[:200]!r}")
    if not isinstance(content, str) or not content.strip():
        return _failed(f"the moderation model came to no conclusion within {MAX_TOKENS} tokens")
    verdict = Verdict.ALLOWED if _ALLOWED.match(content.strip()) else Verdict.REFUSED
    return Judgement(verdict=verdict, reason=f"the moderation model said {content.strip()[:80]!r}")


class Moderator:
    """The moderation model of the orders."""

    def __init__(self, orders: ContentFilter, *, directory: Path, session: aiohttp.ClientSession) -> None:
        """Take the directory with the entry `api-key`, which is read anew for each request: it may be renewed."""
        self._orders = orders
        self._key_file = directory / API_KEY_FILE if orders.has_api_key else None
        self._session = session
        self._url = f"{orders.url.rstrip('/')}/chat/completions"
        self._verdicts = Counter(
            "gptoss_gateway_filter_requests",
            "Texts by what the content filter said; failed: the moderation model did not answer.",
            ("stage", "verdict"),
            registry=None,
        )
        self._seconds = Histogram(
            "gptoss_gateway_filter_seconds",
            "Time that the moderation model took.",
            ("stage",),
            buckets=_BUCKETS,
            registry=None,
        )

    def register(self, registry: CollectorRegistry) -> None:
        """Add the metrics to a registry."""
        registry.register(self._verdicts)
        registry.register(self._seconds)

    async def judge(self, stage: Stage, text: str) -> Judgement:
        """Return whether a text is allowed, within the orders' time. Nothing is allowed without a question."""
        if not text.strip():
            return Judgement(verdict=Verdict.ALLOWED, reason="there is nothing to judge")
        began = time.monotonic()
        judgement = await self._ask(text)
        self._seconds.labels(stage).observe(time.monotonic() - began)
        self._verdicts.labels(stage, judgement.verdict).inc()
        return judgement

    async def _ask(self, text: str) -> Judgement:
        messages = [{"role": "system", "content": self._orders.policy}, {"role": "user", "content": text}]
        question = {"model": self._orders.model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}
        try:
            headers = {"content-type": "application/json", **self._authorization()}
            async with asyncio.timeout(self._orders.timeout_seconds):
                return read_judgement(*await self._post(json.dumps(question).encode(), headers))
        except TimeoutError:
            return _failed(f"{self._url} did not answer in {self._orders.timeout_seconds:g} s")
        except (aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            return _failed(f"asking {self._url} failed: {error!r}")

    def _authorization(self) -> dict[str, str]:
        """Return the header with the key. Raises OSError or UnicodeDecodeError with the file's name."""
        if self._key_file is None:
            return {}
        return {"authorization": f"Bearer {self._key_file.read_text(encoding='utf-8').strip()}"}

    async def _post(self, question: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        for _ in range(TRIES - 1):
            with suppress(aiohttp.ClientConnectionError):
                return await self._post_once(question, headers)
        return await self._post_once(question, headers)

    async def _post_once(self, question: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        async with self._session.post(self._url, data=question, headers=headers, allow_redirects=False) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                answer += chunk
                if len(answer) > MAX_ANSWER_BYTES:
                    raise aiohttp.ClientPayloadError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
            return response.status, bytes(answer)


def _failed(reason: str) -> Judgement:
    return Judgement(verdict=Verdict.FAILED, reason=reason)
