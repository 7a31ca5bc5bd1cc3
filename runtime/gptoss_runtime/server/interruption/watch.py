"""The loop that asks the cloud, all the time, whether this machine is to go."""

import asyncio
import http
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType

import aiohttp

from gptoss_runtime.contract import Notice
from gptoss_runtime.orders import Cloud
from gptoss_runtime.server.interruption.clouds import detect_cloud, read_firmware
from gptoss_runtime.server.interruption.question import Question, UnreadableError, most_urgent
from gptoss_runtime.server.interruption.service import Page, Service


METADATA_URL = "http://169.254.169.254"
"""Where every cloud has its service: an address that is never routed beyond the machine."""
METADATA_URL_ENV = "GPTOSS_METADATA_URL"
"""Environment variable with another place, for tests."""
LOST_AFTER = 5
"""Looks in a row that nobody answered, until they become rare."""

_REMEDIES = MappingProxyType(
    {
        Cloud.AWS: "set the hop limit of the instance's metadata options to 2, so that pods are answered",
        Cloud.GCP: "let the pod reach 169.254.169.254 on port 80",
        Cloud.AZURE: "let the pod reach 169.254.169.254 on port 80",
    }
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds between two looks."""

    usual: float
    """While the service answers."""
    rare: float = 60.0
    """While it does not: a pod that may not reach it should not try all the time."""


PACES = MappingProxyType(
    {
        # AWS gives two minutes and asks for no more than this.
        Cloud.AWS: Pace(usual=5.0),
        # These give half a minute, of which every second counts; their services allow more.
        Cloud.GCP: Pace(usual=2.0),
        Cloud.AZURE: Pace(usual=2.0),
    }
)


async def watch_notices(
    cloud: Cloud,
    on_notice: Callable[[Notice | None], None],
    *,
    base_url: str | None = None,
    pace: Pace | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Call `on_notice` with the most urgent notice whenever it is another one, and with None when there is none left.

    Goes on until it is cancelled, also where there is no cloud to ask. What the service does never raises: while it
    does not answer, what it said last holds.
    """
    if cloud is Cloud.AUTO:
        cloud = detect_cloud(read_firmware())
        log.info("The firmware names %s", "no cloud that is known" if cloud is Cloud.OFF else cloud)
    if cloud is Cloud.OFF:
        log.info("No cloud is asked for notices of an interruption")
        await asyncio.Event().wait()
    url = base_url or os.environ.get(METADATA_URL_ENV) or METADATA_URL
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1),
        cookie_jar=aiohttp.DummyCookieJar(loop=asyncio.get_running_loop()),
        trust_env=False,
    ) as session:
        watcher = _Watcher(Service(session, cloud, url), cloud, clock)
        pace = pace or PACES[cloud]
        told: Notice | None = None
        while True:
            notice = await watcher.look()
            if notice != told:
                told = notice
                on_notice(notice)
            await asyncio.sleep(pace.rare if watcher.is_lost else pace.usual)


class _Watcher:
    """Remembers what each question was answered last."""

    def __init__(self, service: Service, cloud: Cloud, clock: Callable[[], float]) -> None:
        self._service = service
        self._cloud = cloud
        self._clock = clock
        self._notices: dict[str, Notice] = {}
        """By the question's source."""
        self._complained: set[str] = set()
        """Sources whose present trouble has been told."""
        self._silent_looks = 0

    @property
    def is_lost(self) -> bool:
        """Whether nobody answers."""
        return self._silent_looks >= LOST_AFTER

    async def look(self) -> Notice | None:
        """Ask everything once. Return the most urgent of what is announced."""
        pages = [(question, await self._service.ask(question)) for question in await self._service.questions()]
        self._note_silence(pages)
        for question, page in pages:
            if page.status:
                self._take(question, page)
        return most_urgent(self._notices.values())

    def _take(self, question: Question, page: Page) -> None:
        """Take note of an answer; one that cannot be read changes nothing."""
        try:
            notice = _read(question, page)
        except UnreadableError as error:
            if question.source not in self._complained:
                self._complained.add(question.source)
                log.warning("%s cannot be read, which is taken for no news: %s", question.source, error)
            return
        self._complained.discard(question.source)
        before = self._notices.pop(question.source, None)
        if notice is None:
            return
        if notice.deadline is None:
            notice = replace(notice, deadline=self._deadline(question, notice, before))
        self._notices[question.source] = notice

    def _deadline(self, question: Question, notice: Notice, before: Notice | None) -> float | None:
        """Return when that happens which `notice` does not date: as was said before, or counted from now."""
        if before and (before.kind, before.source) == (notice.kind, notice.source):
            return before.deadline
        return None if question.lead_seconds is None else self._clock() + question.lead_seconds

    def _note_silence(self, pages: list[tuple[Question, Page]]) -> None:
        if any(page.status for _, page in pages):
            if self.is_lost:
                log.info("%s answers again", self._cloud)
            self._silent_looks = 0
            return
        self._silent_looks += 1
        if self._silent_looks == LOST_AFTER:
            log.warning(
                "%s's metadata service does not answer (%s), so this replica hears of no interruption: %s, "
                "or set spec.interruption.cloud to Off",
                self._cloud,
                pages[0][1].text,
                _REMEDIES[self._cloud],
            )


def _read(question: Question, page: Page) -> Notice | None:
    """Return what a page announces. Raises UnreadableError."""
    if page.status == http.HTTPStatus.NOT_FOUND and question.absent_is_nothing:
        return None
    if page.status != http.HTTPStatus.OK:
        raise UnreadableError(f"status {page.status}")
    return question.read(page.text)
