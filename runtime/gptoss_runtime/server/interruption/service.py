"""A cloud's metadata service: every question has a bound, and what fails is a value, not an exception."""

import http
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from gptoss_runtime.orders import Cloud
from gptoss_runtime.server.interruption import aws, azure, gcp
from gptoss_runtime.server.interruption.question import TIMEOUT_SECONDS, Question


MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the service answered."""

    status: int
    """HTTP's; 0 when no answer came."""
    text: str
    """The page, or why there is none."""


class Service:
    """Asks one cloud's service over `session`."""

    def __init__(self, session: aiohttp.ClientSession, cloud: Cloud, base_url: str) -> None:
        self._session = session
        self._cloud = cloud
        self._base_url = base_url.rstrip("/")
        self._token = ""
        self._machine = ""
        self._answered: set[str] = set()

    async def questions(self) -> tuple[Question, ...]:
        """Return what to ask now."""
        match self._cloud:
            case Cloud.AWS:
                return aws.QUESTIONS
            case Cloud.GCP:
                return gcp.QUESTIONS
            case Cloud.AZURE:
                if not self._machine:
                    page = await self._fetch("GET", azure.NAME_PATH, azure.HEADERS, TIMEOUT_SECONDS)
                    self._machine = page.text.strip() if page.status == http.HTTPStatus.OK else ""
                return (azure.question(self._machine),)
            case _:
                return ()

    async def ask(self, question: Question) -> Page:
        """Return the page that `question` is about."""
        answered = question.source in self._answered
        seconds = question.timeout_seconds if answered else question.first_timeout_seconds
        if self._cloud is Cloud.AWS:
            page = await self._ask_with_token(question, seconds)
        else:
            page = await self._fetch("GET", question.path, question.headers, seconds)
        if page.status:
            self._answered.add(question.source)
        return page

    async def _ask_with_token(self, question: Question, seconds: float) -> Page:
        kept = bool(self._token)
        page = await self._ask_once(question, seconds)
        if page.status == http.HTTPStatus.UNAUTHORIZED:
            # The token has run out.
            self._token = ""
            return await self._ask_once(question, seconds) if kept else page
        return page

    async def _ask_once(self, question: Question, seconds: float) -> Page:
        if not self._token:
            life = {aws.TOKEN_LIFE_HEADER: str(aws.TOKEN_LIFE_SECONDS)}
            page = await self._fetch("PUT", aws.TOKEN_PATH, life, seconds)
            if page.status != http.HTTPStatus.OK:
                return Page(status=0, text=f"no token: {f'status {page.status}' if page.status else page.text}")
            self._token = page.text.strip()
        headers = {**question.headers, aws.TOKEN_HEADER: self._token}
        return await self._fetch("GET", question.path, headers, seconds)

    async def _fetch(self, method: str, path: str, headers: Mapping[str, str], seconds: float) -> Page:
        try:
            async with self._session.request(
                method,
                f"{self._base_url}{path}",
                headers=dict(headers),
                timeout=aiohttp.ClientTimeout(total=seconds),
                # An answer from elsewhere is none of the cloud's.
                allow_redirects=False,
            ) as response:
                return Page(status=response.status, text=await _text(response))
        except TimeoutError:
            return Page(status=0, text=f"no answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Page(status=0, text=str(error) or type(error).__name__)


async def _text(response: aiohttp.ClientResponse) -> str:
    """Return the body. Raises ValueError where it is too long, or no text."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise ValueError(f"more than {MAX_ANSWER_BYTES} bytes")
    return b"".join(parts).decode()
