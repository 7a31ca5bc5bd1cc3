"""Asks every replica for its state, at a steady pace. Passes never wait for it: they take what was last heard.

Built for thousands of replicas: connections are kept, questions are spread over the interval, nothing is logged for a
single one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.samples import Result, Samples, ScrapeFailed
from gptoss_operator.shell.store import Key, deployment_of, key_of
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.contract import HEALTH_PORT, VERSION, ReplicaState


DEADLINE_SECONDS: Final = 2.0
"""How long a replica may take to answer."""
BODY_MAX_BYTES: Final = 64 * 1024
"""A state document has about one KiB; who sends more than this is no replica of ours."""
AT_ONCE: Final = 1000
"""Questions in flight. So many that replicas which do not answer hardly delay the others."""
SHARES: Final = 10
"""The replicas are asked in this many groups, one after the other, so that their answers do not come all at once."""
FRESH_INTERVALS: Final = 3
"""A sample says nothing any more after so many intervals without a new one."""

logger = logging.getLogger(__name__)


class _Versioned(msgspec.Struct):
    version: int = 0


_version = msgspec.json.Decoder(_Versioned)
_state = msgspec.json.Decoder(ReplicaState)


class Scraper:
    """Keeps `samples` up to date."""

    def __init__(
        self,
        *,
        pods: Callable[[], Iterable[Pod]],
        wake: Callable[[Key], None],
        telemetry: Telemetry,
        interval_seconds: float,
        port: int = HEALTH_PORT,
    ) -> None:
        """`pods` returns the replicas' pods. `wake` is told which deployments have something new to look at."""
        self.samples = Samples(fresh_seconds=FRESH_INTERVALS * interval_seconds)
        self.asked_all = asyncio.Event()
        """Set when every replica that ran at the start was asked once."""
        self._pods = pods
        self._wake = wake
        self._telemetry = telemetry
        self._interval_seconds = interval_seconds
        self._port = port
        self._asking: set[str] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._warned = False

    async def run(self) -> None:
        """Ask for ever. Nothing that a replica does or sends ends it."""
        async with _session(self._interval_seconds) as session, asyncio.TaskGroup() as group:
            first = [group.create_task(self._ask(session, pod)) for pod in self._running()]
            group.create_task(self._tell_when_done(first))
            while True:
                running = self._running()
                for share in range(SHARES):
                    await asyncio.sleep(self._interval_seconds / SHARES)
                    for pod in running[share::SHARES]:
                        group.create_task(self._ask(session, pod))
                self._report(running)

    async def _tell_when_done(self, first: Sequence[asyncio.Task[None]]) -> None:
        if first:
            await asyncio.wait(first)
        self.asked_all.set()

    def _running(self) -> Sequence[Pod]:
        """Return the pods to ask, and forget all others."""
        running = [pod for pod in self._pods() if _can_answer(pod)]
        self.samples.keep_only({pod.metadata.uid for pod in running})
        return running

    async def _ask(self, session: aiohttp.ClientSession, pod: Pod) -> None:
        uid = pod.metadata.uid
        if uid in self._asking:
            return  # It has not answered the last question yet.
        self._asking.add(uid)
        try:
            async with self._at_once:
                began_at = time.monotonic()
                answer = await ask(session, pod.status.pod_ip, self._port)
            taken = self.samples.take(uid, answer)
        finally:
            self._asking.discard(uid)
        self._telemetry.count_scrape(taken.result, time.monotonic() - began_at)
        deployment = deployment_of(pod)
        if taken.news and deployment is not None:
            self._wake(deployment)

    def _report(self, running: Sequence[Pod]) -> None:
        """Say once that replicas which Kubernetes finds ready do not answer us: something keeps us off them."""
        ready = [pod for pod in running if _is_ready(pod)]
        answers = [(pod, self.samples.silent(pod.metadata.uid)) for pod in ready]
        silent = [(pod, failure) for pod, failure in answers if failure]
        if not silent:
            self._warned = False
        elif not self._warned:
            self._warned = True
            pod, failure = silent[0]
            logger.warning(
                "%d of %d ready replicas do not say how they are, such as %s at %s: %s. Let the operator reach port %d "
                "of the replicas' pods (NetworkPolicy); until then only what Kubernetes knows of them is shown",
                len(silent),
                len(ready),
                "/".join(key_of(pod)),
                pod.status.pod_ip,
                failure.reason,
                self._port,
            )


async def ask(session: aiohttp.ClientSession, address: str, port: int) -> ReplicaState | ScrapeFailed:
    """Return what the replica at `address` (IPv4 or IPv6) says of itself, or why that is not known."""
    try:
        async with session.get(_url(address, port), allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                return ScrapeFailed(result=Result.REFUSED, reason=f"it answered with status {response.status}")
            body = await _body(response.content)
    except TimeoutError:
        return ScrapeFailed(result=Result.LATE, reason=f"no answer within {DEADLINE_SECONDS:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return ScrapeFailed(result=Result.UNREACHABLE, reason=str(error) or type(error).__name__)
    if len(body) > BODY_MAX_BYTES:
        return ScrapeFailed(result=Result.UNREADABLE, reason=f"it sent more than {BODY_MAX_BYTES} bytes")
    return decoded(body)


def decoded(body: bytes) -> ReplicaState | ScrapeFailed:
    """Return the state document in `body`; the same as `ReplicaState.decode`, in a third of its time."""
    try:
        version = _version.decode(body).version
        if version == VERSION:
            return _state.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return ScrapeFailed(result=Result.UNREADABLE, reason=f"no state document: {error}")
    return ScrapeFailed(
        result=Result.UNREADABLE, reason=f"its document is of version {version}; this operator reads {VERSION}"
    )


def _session(interval_seconds: float) -> aiohttp.ClientSession:
    """Return a session that goes to pods directly, keeps its connections, and asks for nothing but the document."""
    connector = aiohttp.TCPConnector(
        limit=0, keepalive_timeout=FRESH_INTERVALS * interval_seconds + DEADLINE_SECONDS, use_dns_cache=False
    )
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        timeout=aiohttp.ClientTimeout(total=DEADLINE_SECONDS),
    )


@lru_cache(maxsize=16384)
def _url(address: str, port: int) -> URL:
    return URL.build(scheme="http", host=address, port=port, path="/state")


async def _body(content: aiohttp.StreamReader) -> bytes:
    """Return the body, or its beginning when it is too long."""
    body = await content.read(BODY_MAX_BYTES + 1)
    while body and len(body) <= BODY_MAX_BYTES and not content.at_eof():
        body += await content.read(BODY_MAX_BYTES + 1 - len(body))
    return body


def _can_answer(pod: Pod) -> bool:
    """Return whether a pod runs and stays: one that leaves stops listening when it likes."""
    return pod.status.phase == "Running" and bool(pod.status.pod_ip) and pod.metadata.deletion_timestamp is None


def _is_ready(pod: Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions)
