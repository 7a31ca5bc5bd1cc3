"""Asks every replica and gateway for its state, at a steady pace. Passes never wait: they take what was last heard.

Built for thousands of replicas: connections are kept, questions are spread over the interval, nothing is logged for a
single one.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

from gptoss_operator.core.objects import Pod
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.shell.ask import DEADLINE_SECONDS, decoded
from gptoss_operator.shell.asker import Asker, is_unheard, runs
from gptoss_operator.shell.complaint import Complaint
from gptoss_operator.shell.gateways import Gateways
from gptoss_operator.shell.loads import Loads, is_ready
from gptoss_operator.shell.reach import Reach
from gptoss_operator.shell.samples import Result, Samples, ScrapeFailed
from gptoss_operator.shell.store import Key, deployment_of
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.contract import HEALTH_PORT, ReplicaState
from gptoss_runtime.gateway_contract import ACTIVATOR_PORT


SHARES: Final = 50
"""The pods are asked in at least so many groups, one after the other, so that their answers do not come all at once."""
URGENT_SECONDS: Final = 1.0
"""How often gateways are asked while they may hold requests, or while a replica is silent; and when a replica is asked
again that did not answer."""
SUSPECT_SECONDS: Final = 1.0
"""How long a replica may take to answer that its gateways do not reach."""
FRESH_INTERVALS: Final = 3
"""A sample says nothing any more after so many intervals without a new one."""

logger = logging.getLogger(__name__)


class Scraper:
    """Keeps `samples`, `loads` and `reach` up to date."""

    def __init__(
        self,
        *,
        pods: Callable[[], Iterable[Pod]],
        wake: Callable[[Key], None],
        telemetry: Telemetry,
        interval_seconds: float,
        port: int = HEALTH_PORT,
        gateways: Callable[[], Iterable[Pod]] = lambda: (),
        gateway_port: int = ACTIVATOR_PORT,
        paced: Callable[[Key], bool] = lambda _: False,
        deployments: Callable[[], Iterable[Key]] = lambda: (),
    ) -> None:
        """`pods` returns the replicas' pods, `gateways` those of the gateways.

        `wake` is told which deployments have something new to look at; those that are `paced` once in each interval,
        when their gateways have been asked. `deployments` returns all, since some have no gateway that runs.
        """
        self.samples = Samples(fresh_seconds=FRESH_INTERVALS * interval_seconds)
        self.loads = Loads()
        self.reach = Reach()
        self.asked_all = asyncio.Event()
        """Set when every replica and gateway that ran at the start was asked once."""
        self._pods = pods
        self._gateway_pods = gateways
        self._wake = wake
        self._paced = paced
        self._deployments = deployments
        self._telemetry = telemetry
        self._interval_seconds = interval_seconds
        self._asker = Asker(port, decoded)
        self._gateways = Gateways(
            loads=self.loads, telemetry=telemetry, heard=self._gateway_heard, wake=wake, port=gateway_port
        )
        self._running: dict[Key, list[Pod]] = {}
        self._silent: dict[str, Pod] = {}
        """Replicas that took requests and left the last question without an answer."""
        self._group: asyncio.TaskGroup | None = None
        self._silent_replicas = Complaint(
            logger=logger,
            who="replicas",
            untold="how they are",
            meanwhile="only what Kubernetes knows of them is shown",
            port=port,
            remedy="Use the server image that belongs to this operator (spec.image)",
        )
        self._silent_gateways = Complaint(
            logger=logger,
            who="gateways",
            untold="how many requests there are",
            meanwhile="no replica is removed for want of load",
            port=gateway_port,
            remedy="Use the activator image that belongs to this operator (--activator-image)",
        )

    def load(self, gateways: Iterable[Pod], replicas: Iterable[Pod], deployment: Key) -> Load:
        """Return the load of a deployment with these pods, as it was last heard."""
        return self.loads.load(deployment, gateways, replicas, self.samples.fresh)

    async def run(self) -> None:
        """Ask for ever. Nothing that a replica or gateway does or sends ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                running, deployments = self._look()
                first = [group.create_task(self._ask(pod)) for pod in running]
                first += [group.create_task(self._gateways.ask(deployment)) for deployment in deployments]
                group.create_task(self._tell_when_done(first))
                group.create_task(self._hurry(group))
                shares = max(SHARES, math.ceil(self._interval_seconds / URGENT_SECONDS))
                beats = _beats(self._interval_seconds / shares)
                while True:
                    running, deployments = self._look()
                    for share in range(shares):
                        await anext(beats)
                        for pod in running[share::shares]:
                            group.create_task(self._ask(pod))
                        for deployment in deployments[share::shares]:
                            group.create_task(self._ask_gateways(deployment))
                    self._report(running)
        finally:
            self._asker.close()
            self._gateways.close()

    async def _tell_when_done(self, first: Sequence[asyncio.Task[None]]) -> None:
        if first:
            await asyncio.wait(first)
        self.asked_all.set()

    async def _hurry(self, group: asyncio.TaskGroup) -> None:
        """Ask the gateways more often that may hold requests since no replica is ready, or may know of a silent one."""
        while True:
            await asyncio.sleep(min(URGENT_SECONDS, self._interval_seconds))
            served = {key for key, pods in self._running.items() if any(map(is_ready, pods))}
            suspicious = {deployment_of(pod) for pod in self._silent.values()}
            for deployment in self._gateways.deployments():
                if deployment not in served or deployment in suspicious:
                    group.create_task(self._gateways.ask(deployment))

    def _look(self) -> tuple[Sequence[Pod], Sequence[Key]]:
        """Return the replicas to ask and the deployments to look at, and forget all others."""
        running = [pod for pod in self._pods() if runs(pod) and pod.metadata.deletion_timestamp is None]
        self._running = {}
        for pod in running:
            deployment = deployment_of(pod)
            if deployment is not None:
                self._running.setdefault(deployment, []).append(pod)
        uids = {pod.metadata.uid for pod in running}
        gateways = self._gateways.look(self._gateway_pods())
        self._asker.keep_only(uids)
        self.samples.keep_only(uids)
        self.reach.keep_only(uids)
        self._silent = {uid: pod for uid, pod in self._silent.items() if uid in uids}
        self.loads.keep_only(uids | {pod.metadata.uid for pods in gateways.values() for pod in pods})
        return running, [*gateways, *(key for key in self._deployments() if key not in gateways)]

    async def _ask_gateways(self, deployment: Key) -> None:
        """Ask the gateways of a deployment, and let it have its pass of this interval."""
        await self._gateways.ask(deployment)
        if self._paced(deployment):
            self._wake(deployment)

    async def _ask(self, pod: Pod, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        asked = await self._asker.ask(pod, deadline_seconds)
        deployment = deployment_of(pod)
        if asked is None or deployment is None:
            return
        uid, answer = pod.metadata.uid, asked.answer
        taken = self.samples.take(uid, answer)
        self._telemetry.count_scrape(taken.result, asked.seconds)
        news = taken.news
        if isinstance(answer, ReplicaState) and taken.result is Result.OK:
            self.loads.take_replica(deployment, uid, answer)
        if isinstance(answer, ScrapeFailed) and is_unheard(answer):
            self._not_answered(pod, deployment, asked.seconds)
        else:
            self._silent.pop(uid, None)
            news |= self.reach.answered(uid, ready=answer.verdict.ready if isinstance(answer, ReplicaState) else None)
        if news:
            self._wake(deployment)

    def _not_answered(self, pod: Pod, deployment: Key, seconds: float) -> None:
        times = self.reach.failed(pod.metadata.uid)
        if not times:
            return
        self._silent[pod.metadata.uid] = pod
        if times == 1 and self._group is not None:
            self._group.create_task(self._ask_again(pod, URGENT_SECONDS - seconds))
        self._weigh(pod, deployment)

    async def _ask_again(self, pod: Pod, pause_seconds: float) -> None:
        await asyncio.sleep(max(pause_seconds, 0.0))
        await self._ask(pod, SUSPECT_SECONDS)

    def _gateway_heard(self, deployment: Key, dead: Sequence[str]) -> None:
        """Ask at once who has just died, as a gateway says, and weigh what the gateways say of those who are silent."""
        for pod in self._running.get(deployment, ()):
            if pod.status.pod_ip in dead and self._group is not None:
                self._group.create_task(self._ask(pod, SUSPECT_SECONDS))
            if pod.metadata.uid in self._silent:
                self._weigh(pod, deployment)

    def _weigh(self, pod: Pod, deployment: Key) -> None:
        since = self.reach.silent_since(pod.metadata.uid)
        if since is None:
            return
        if self.reach.weigh(pod.metadata.uid, self._gateways.words(deployment, pod.status.pod_ip, since)):
            self._wake(deployment)

    def _report(self, running: Sequence[Pod]) -> None:
        """Say once that pods which Kubernetes finds ready do not answer us: something keeps us off them."""
        self._silent_replicas.look(filter(is_ready, running), self.samples.silent)
        gateways = (pod for pod in self._gateway_pods() if is_ready(pod))
        self._silent_gateways.look(gateways, self._gateways.silent)


async def _beats(seconds: float) -> AsyncIterator[None]:
    """Yield every so many seconds, however long what happens in between takes; what was missed is not made up for."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        due = max(due + seconds, clock())
        await asyncio.sleep(due - clock())
        yield
