"""Asks the gateways of each deployment, and keeps what they say of its requests and of its replicas."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.ask import decoded_gateway
from gptoss_operator.shell.asker import Asker, runs
from gptoss_operator.shell.loads import Loads
from gptoss_operator.shell.reach import Word
from gptoss_operator.shell.samples import Result, ScrapeFailed
from gptoss_operator.shell.store import Key, deployment_of
from gptoss_operator.shell.telemetry import Telemetry
from gptoss_runtime.gateway_contract import ACTIVATOR_PORT, GatewayGauge, GatewayState


NONE: Final[Mapping[str, bool]] = {}


class Gateways:
    """The gateway pods by deployment, and whether they answer."""

    def __init__(
        self,
        *,
        loads: Loads,
        telemetry: Telemetry,
        heard: Callable[[Key, Sequence[str]], None],
        wake: Callable[[Key], None],
        port: int = ACTIVATOR_PORT,
    ) -> None:
        """Tell `loads` what they say.

        `heard` is called after each answer or failure, with the addresses of replicas that a gateway finds dead since.
        `wake` is told at once which deployment has begun to hold requests.
        """
        self._asker = Asker(port, decoded_gateway)
        self._loads = loads
        self._telemetry = telemetry
        self._heard = heard
        self._wake = wake
        self._pods: dict[Key, list[Pod]] = {}
        self._failures: dict[str, tuple[Key, ScrapeFailed]] = {}
        """Those that did not answer the last question."""

    def deployments(self) -> Sequence[Key]:
        """Return those that have a gateway which runs."""
        return list(self._pods)

    def silent(self, uid: str) -> ScrapeFailed | None:
        """Return why nothing is known of a gateway that was asked, or None."""
        deployment, failure = self._failures.get(uid, (None, None))
        return None if deployment is None or self._loads.is_fresh(deployment, uid) else failure

    def look(self, pods: Iterable[Pod]) -> Mapping[Key, Sequence[Pod]]:
        """Take in which pods there are, and forget all others. Those that leave go on counting while they answer."""
        self._pods = {}
        for pod in pods:
            deployment = deployment_of(pod)
            if deployment is not None and runs(pod):
                self._pods.setdefault(deployment, []).append(pod)
        uids = {pod.metadata.uid for pods_of in self._pods.values() for pod in pods_of}
        self._asker.keep_only(uids)
        for uid in self._failures.keys() - uids:
            del self._failures[uid]
        return self._pods

    async def ask(self, deployment: Key) -> None:
        """Ask all gateways of a deployment."""
        pods = self._pods.get(deployment, [])
        if len(pods) == 1:
            await self._ask(deployment, pods[0])
        elif pods:
            await asyncio.gather(*(self._ask(deployment, pod) for pod in pods))

    def words(self, deployment: Key, address: str, since: float) -> Iterable[Word]:
        """Yield what each gateway that answers has said of a replica since a time. None: nothing yet."""
        for pod in self._pods.get(deployment, []):
            uid = pod.metadata.uid
            history = self._loads.gateway(deployment, uid)
            if uid in self._failures or pod.metadata.deletion_timestamp is not None:
                continue
            yield history.state.replicas.get(address) if history and history.at >= since else None

    def close(self) -> None:
        """End all connections."""
        self._asker.close()

    async def _ask(self, deployment: Key, pod: Pod) -> None:
        asked = await self._asker.ask(pod)
        if asked is None:
            return
        uid, answer = pod.metadata.uid, asked.answer
        before = self._loads.gateway(deployment, uid)
        if isinstance(answer, GatewayState) and not self._loads.take_gateway(deployment, uid, answer):
            answer = ScrapeFailed(result=Result.OLD, reason=f"document {answer.sequence} again")
        if isinstance(answer, ScrapeFailed):
            self._failures[uid] = deployment, answer
            self._telemetry.count_gateway_scrape(answer.result, asked.seconds)
            self._heard(deployment, ())
            return
        self._failures.pop(uid, None)
        self._telemetry.count_gateway_scrape(Result.OK, asked.seconds)
        earlier = before.state if before else None
        if answer.gauges.get(GatewayGauge.HELD, 0.0) > 0 and not (earlier and earlier.gauges.get(GatewayGauge.HELD)):
            self._wake(deployment)
        was = earlier.replicas if earlier else NONE
        dead = [address for address, alive in answer.replicas.items() if not alive and was.get(address)]
        self._heard(deployment, dead)
