"""Keeps a store equal to what the API server has: list in pages, watch on from there, list again when that is lost.

This exists beside kopf because a kopf index of thousands of pods costs several times the memory: here each object is
decoded straight into a struct of the few fields that the operator reads.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, Generic, Protocol, cast

import msgspec
from msgspec import Struct

from gptoss_operator.errors import Conflict, KubernetesError, NotFound, Refused, Unavailable
from gptoss_operator.shell.store import Store, T


PAGE_LENGTH: Final = 500
WATCH_SECONDS: Final = (240.0, 300.0)
"""How long the server is asked to keep one watch: a random time between, so that they do not all end together."""
SILENCE_SECONDS: Final = 70.0
"""A watch without any line for this long is dead: the server sends a bookmark about every minute."""
BACKOFF_SECONDS: Final = (0.5, 30.0)
"""The first and the longest pause after failures."""
REFUSED_SECONDS: Final = 120.0
"""When to ask again for an optional kind that we may not read, or that is not there: that seldom changes."""

logger = logging.getLogger(__name__)


class Source(Protocol):
    """The two calls of `Kube` that a reflector makes."""

    async def list_page(
        self, kind: str, namespace: str | None, *, selector: str = "", limit: int = 500, page: str = ""
    ) -> bytes:
        """Return one page of a list."""
        ...

    def watch(
        self,
        kind: str,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        server_seconds: float,
        silence_seconds: float,
    ) -> AsyncIterator[bytes]:
        """Yield the lines of a watch."""
        ...


class _ListMeta(Struct, rename={"resource_version": "resourceVersion", "next_page": "continue"}):
    resource_version: str = ""
    next_page: str = ""


class _Page(Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Event(Struct):
    type: str
    object: msgspec.Raw


class _BookmarkMeta(Struct, rename="camel"):
    resource_version: str


class _Bookmark(Struct):
    metadata: _BookmarkMeta


class _Failure(Struct):
    code: int = 0
    message: str = ""


class Reflector(Generic[T]):
    """Reflects one kind, in one namespace or in all of them, into a store."""

    def __init__(
        self,
        source: Source,
        kind: str,
        struct: type[T],
        store: Store[T],
        *,
        namespace: str | None = None,
        selector: str = "",
        silence_seconds: float = SILENCE_SECONDS,
        backoff_seconds: tuple[float, float] = BACKOFF_SECONDS,
        page_length: int = PAGE_LENGTH,
        optional: bool = False,
    ) -> None:
        """Make one. With `optional`, a kind that may not be read, or is not there, counts as one without objects."""
        self.kind = kind
        self.namespace = namespace
        self.synced = asyncio.Event()
        """Set once the first list is in the store. Never cleared: a later list replaces the store in one step."""
        self._source = source
        self._store = store
        self._selector = selector
        self._silence_seconds = silence_seconds
        self._backoff_seconds = backoff_seconds
        self._page_length = page_length
        self._optional = optional
        self._object = msgspec.json.Decoder(struct)
        self._page = msgspec.json.Decoder(_Page)
        self._event = msgspec.json.Decoder(_Event)
        self._bookmark = msgspec.json.Decoder(_Bookmark)
        self._version: str | None = None
        """Everything up to this version is in the store. None: nothing known, list first."""
        self._goes_without = False
        self._heard_at = self._tried_at = time.monotonic()

    @property
    def last_event_age_seconds(self) -> float:
        """Seconds since the API server last said anything on this watch, bookmarks included."""
        return time.monotonic() - self._heard_at

    @property
    def last_activity_age_seconds(self) -> float:
        """Seconds since the API server said anything or this reflector tried to reach it.

        The first is long while the API server is away, which a restart does not cure; this one only if we are stuck.
        """
        return time.monotonic() - max(self._heard_at, self._tried_at)

    async def run(self) -> None:
        """Reflect for ever. Failures are waited out, with longer and longer pauses."""
        failures = 0
        first_pause, longest_pause = self._backoff_seconds
        while True:
            began_at = time.monotonic()
            problem = await self._follow()
            if problem is None:
                failures = 0
            elif time.monotonic() - began_at > longest_pause:
                failures = 1  # It went well for a while.
            else:
                failures += 1
            pause = min(longest_pause, first_pause * 2 ** min(failures, 16)) * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)
            if self._goes_without:
                pause = REFUSED_SECONDS
            if problem is not None:
                # What we can do without is said once.
                said = logging.INFO if failures == 1 else logging.DEBUG
                level = said if self._goes_without else logging.WARNING
                logger.log(level, "Watching %s: %s; trying again in %.1f s", self._where(), problem, pause)
            await asyncio.sleep(pause)

    async def _follow(self) -> str | None:
        """List if that is needed, and watch until the server ends it. Return what went wrong, or None."""
        self._goes_without = False
        try:
            self._tried_at = time.monotonic()
            if self._version is None:
                await self._list()
            await self._watch(self._version or "")
        except Conflict as error:
            self._version = None  # The position is lost: list again.
            return str(error)
        except (Refused, NotFound) as error:
            self._version = None
            self._goes_without = self._optional
            if self._optional:
                self._store.not_watched(self.namespace)
                self.synced.set()
            return str(error)
        except KubernetesError as error:
            return str(error)
        except msgspec.DecodeError as error:
            self._version = None
            return f"what the API server sent cannot be decoded: {error}"
        return None

    def _where(self) -> str:
        return f"{self.kind} in {self.namespace or 'all namespaces'}"

    async def _list(self) -> None:
        """Bring the store up to now, page by page."""
        objects: list[T] = []
        next_page = ""
        while True:
            self._tried_at = time.monotonic()
            text = await self._source.list_page(
                self.kind, self.namespace, selector=self._selector, limit=self._page_length, page=next_page
            )
            self._heard_at = time.monotonic()
            page = self._page.decode(text)
            objects.extend(self._object.decode(item) for item in page.items or ())
            next_page = page.metadata.next_page
            if not next_page:
                break
        # The version of the last page is that of the first: all pages show one moment.
        self._store.replace(self.namespace, objects, page.metadata.resource_version)
        self._version = page.metadata.resource_version
        self.synced.set()
        logger.debug("Listed %s: %d objects at version %s", self._where(), len(objects), self._version)

    async def _watch(self, version: str) -> None:
        """Take in events from `version` on until the server ends the watch."""
        lines = self._source.watch(
            self.kind,
            self.namespace,
            resource_version=version,
            selector=self._selector,
            server_seconds=random.uniform(*WATCH_SECONDS),  # noqa: S311  (jitter)
            silence_seconds=self._silence_seconds,
        )
        async with aclosing(cast("AsyncGenerator[bytes, None]", lines)):
            async for line in lines:
                self._heard_at = time.monotonic()
                self._take_event(self._event.decode(line))

    def _take_event(self, event: _Event) -> None:
        match event.type:
            case "ADDED" | "MODIFIED":
                obj = self._object.decode(event.object)
                self._store.seen(self.namespace, obj)
                self._version = obj.metadata.resource_version
            case "DELETED":
                obj = self._object.decode(event.object)
                self._store.seen_gone(self.namespace, obj)
                self._version = obj.metadata.resource_version
            case "BOOKMARK":
                self._version = self._bookmark.decode(event.object).metadata.resource_version
                self._store.seen_version(self.namespace, self._version)
            case _:
                failure = msgspec.json.decode(event.object, type=_Failure)
                error = f"the watch was ended: {failure.message or event.type} ({failure.code})"
                raise Conflict(error) if failure.code == 410 else Unavailable(error)  # noqa: PLR2004  (HTTP Gone)
