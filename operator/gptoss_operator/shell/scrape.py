"""Asks every replica for its state, at a steady pace. Passes never wait for it: they take what was last heard.

Built for thousands of replicas: connections are kept, questions are spread over the interval, nothing is logged for a
single one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.ask import Line
from gptoss_operator.shell.samples import Result, Samples, ScrapeFailed
from gptoss_operator.shell.store import Key, deployment_of, key_of
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.contract import HEALTH_PORT


AT_ONCE: Final = 1000
"""Questions in flight. So many that replicas which do not answer hardly delay the others."""
SHARES: Final = 10
"""The replicas are asked in this many groups, one after the other, so that their answers do not come all at once."""
FRESH_INTERVALS: Final = 3
"""A sample says nothing any more after so many intervals without a new one."""

logger = logging.getLogger(__name__)


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
        self._lines: dict[str, Line] = {}
        self._asking: set[str] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._warned = False

    async def run(self) -> None:
        """Ask for ever. Nothing that a replica does or sends ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(self._ask(pod)) for pod in self._running()]
                group.create_task(self._tell_when_done(first))
                while True:
                    running = self._running()
                    for share in range(SHARES):
                        await asyncio.sleep(self._interval_seconds / SHARES)
                        for pod in running[share::SHARES]:
                            group.create_task(self._ask(pod))
                    self._report(running)
        finally:
            for line in self._lines.values():
                line.close()

    async def _tell_when_done(self, first: Sequence[asyncio.Task[None]]) -> None:
        if first:
            await asyncio.wait(first)
        self.asked_all.set()

    def _running(self) -> Sequence[Pod]:
        """Return the pods to ask, and forget all others."""
        running = [pod for pod in self._pods() if _can_answer(pod)]
        uids = {pod.metadata.uid for pod in running}
        self.samples.keep_only(uids)
        for uid in self._lines.keys() - uids - self._asking:
            self._lines.pop(uid).close()
        return running

    async def _ask(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        if uid in self._asking:
            return  # It has not answered the last question yet.
        self._asking.add(uid)
        try:
            async with self._at_once:
                began_at = time.monotonic()
                answer = await self._line(pod).ask()
            taken = self.samples.take(uid, answer)
        finally:
            self._asking.discard(uid)
        self._telemetry.count_scrape(taken.result, time.monotonic() - began_at)
        deployment = deployment_of(pod)
        if taken.news and deployment is not None:
            self._wake(deployment)

    def _line(self, pod: Pod) -> Line:
        uid, address = pod.metadata.uid, pod.status.pod_ip
        line = self._lines.get(uid)
        if line is None or line.address != address:
            if line is not None:
                line.close()
            line = self._lines[uid] = Line(address, self._port)
        return line

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
                "%d of %d ready replicas do not say how they are, such as %s at %s: %s. %s; until then only what "
                "Kubernetes knows of them is shown",
                len(silent),
                len(ready),
                "/".join(key_of(pod)),
                pod.status.pod_ip,
                failure.reason,
                self._remedy(failure),
            )

    def _remedy(self, failure: ScrapeFailed) -> str:
        if failure.result in (Result.UNREACHABLE, Result.LATE):
            return f"Let the operator reach port {self._port} of the replicas' pods (NetworkPolicy)"
        return "Use the server image that belongs to this operator (spec.image)"


def _can_answer(pod: Pod) -> bool:
    """Return whether a pod runs and stays: one that leaves stops listening when it likes."""
    return pod.status.phase == "Running" and bool(pod.status.pod_ip) and pod.metadata.deletion_timestamp is None


def _is_ready(pod: Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions)
