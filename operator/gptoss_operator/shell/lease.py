"""Of several processes of the operator one works: the one that holds the Lease.

A process that loses it ends, and is started again by its pod. What it remembers of its own passes (what it applied,
since when something is missing, what it shows as metrics) is wrong once another process has worked, and nobody waits
for this one meanwhile.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gptoss_operator.core.observation import Manifest
from gptoss_operator.errors import Conflict, KubernetesError, LeaseLost, NotFound
from gptoss_operator.shell.claim import HOLD_SECONDS, Sight, Step, claimed, look, next_claim, record_of, released
from gptoss_operator.shell.resources import LEASE


RENEW_SECONDS: Final = 5.0
"""Time between renewals."""
RETRY_SECONDS: Final = 2.0
"""Time between looks at a Lease that another holds, and from a renewal that fails to the next."""
ATTEMPT_SECONDS: Final = 3.0
"""How long one attempt may take: after two that hang a third can still be in time."""
STOP_SECONDS: Final = 2.0
"""How long the work may take to end, and the release after it."""

logger = logging.getLogger(__name__)


class LeaseApi(Protocol):
    """The calls of `Kube` that this needs."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """Return one object. Raises NotFound."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create one object. Raises Conflict when there is one of that name."""
        ...

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace one object. Raises Conflict when it is not the version any more that `manifest` names."""
        ...


class Lease:
    """One process's part in a Lease."""

    def __init__(
        self, api: LeaseApi, namespace: str, name: str, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`identity` is no other process's, nor that of an earlier one in the same pod. `clock` never goes back."""
        self.name = f"{namespace}/{name}"
        self.joined = False
        """Whether the Lease was once read, and claimed if it was free: rights and API server are in order."""
        self._api = api
        self._place = namespace, name
        self._identity = identity
        self._clock = clock
        self._found: Manifest | None = None
        self._sight: Sight | None = None
        self._stale = True
        """Whether the Lease has to be read before it is claimed."""
        self._claimed = False
        """Whether this process has ever asked for it, with whatever answer."""
        self._until = -math.inf
        self._said = ""
        """The last thing that was logged, since the last claim that was granted."""

    def held(self) -> bool:
        """Return whether this process may write now. No call is made: it is asked before each write."""
        return self._clock() < self._until

    async def lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the Lease, then run `work` as long as it is held. Release it on the way out.

        Raises LeaseLost when it could not be renewed in time, or another process has it; or what `work` raises.
        """
        try:
            await self._wait_for_it()
            await self._work(work)
        finally:
            # First of all: nothing is written any more, whatever still runs.
            self._until = -math.inf
            await self._release()

    async def _wait_for_it(self) -> None:
        while True:
            if await self._attempt(ATTEMPT_SECONDS):
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _work(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(work(), name="work")
        try:
            pause = RENEW_SECONDS
            while self.held():
                done, _ = await asyncio.wait({task}, timeout=min(pause, self._until - self._clock()))
                if done:
                    task.result()  # Raises what it died of.
                    raise RuntimeError("the work ended, but should go on for ever")
                # A process that was stopped for long does not ask whether it may go on: somebody else works by now.
                began_at = self._clock()
                left = self._until - began_at
                renewed = left > 0 and await self._attempt(min(ATTEMPT_SECONDS, left))
                pause = RENEW_SECONDS if renewed else max(0.0, began_at + RETRY_SECONDS - self._clock())
        finally:
            self._until = -math.inf
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_SECONDS)
        why = self._said or "it was not renewed in time"
        raise LeaseLost(f"Lease {self.name} is lost: {why}. This process ends, to start anew as one that waits for it")

    async def _attempt(self, seconds: float) -> bool:
        """Return whether the Lease is held, after trying to claim or renew it for some seconds."""
        try:
            async with asyncio.timeout(seconds):
                return await self._claim()
        except TimeoutError:
            self._say(logging.WARNING, f"no answer from the API server within {seconds:.0f} s")
        except KubernetesError as error:
            self._say(logging.WARNING, str(error))
        return False

    async def _claim(self) -> bool:
        if self._stale:
            await self._read()
        claim = next_claim(self._sight, self._identity, self._clock())
        if claim.step is Step.WAIT:
            self._given_away(claim.reason)
            return False
        call = self._api.create if claim.step is Step.CREATE else self._api.replace
        before = None if claim.step is Step.CREATE else self._found
        was_held, sent_at = self.held(), self._clock()
        try:
            await self._write(call, claimed(before, *self._place, self._identity, datetime.now(UTC)))
        except Conflict:
            await self._read()
            claim = next_claim(self._sight, self._identity, self._clock())
            if claim.step is Step.WAIT:
                self._given_away(claim.reason)
            return False
        self._until = sent_at + HOLD_SECONDS
        self.joined = True
        if not was_held:
            logger.info("Lease %s: this process, %s, works from now on: %s", self.name, self._identity, claim.reason)
        self._said = ""
        return True

    def _given_away(self, reason: str) -> None:
        self._until = -math.inf
        self._stale = True
        self.joined = True
        self._say(logging.INFO, reason)

    async def _read(self) -> None:
        try:
            self._took(await self._api.get(LEASE, *self._place))
        except NotFound:
            self._took(None)

    async def _write(self, call: Callable[[Manifest], Awaitable[Manifest]], lease: Manifest) -> None:
        """Send a claim. Until it is answered, nobody here knows what the Lease is."""
        self._stale = self._claimed = True
        self._took(await call(lease))

    def _took(self, found: Manifest | None) -> None:
        """Take in an answer: the Lease, or that there is none."""
        self._found = found
        self._sight = look(self._sight, record_of(found) if found else None, self._clock())
        self._stale = False

    async def _release(self) -> None:
        """Give the Lease up, so that another process need not wait for its end. Does nothing if it is not ours."""
        if not self._claimed:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                # What was last known of it is old where it was lost, or where a claim was cut off.
                await self._read()
                if self._found and record_of(self._found).holder == self._identity:
                    await self._api.replace(released(self._found))
                    logger.info("Lease %s is released", self.name)
        except (KubernetesError, TimeoutError) as error:
            logger.warning("Lease %s is not released, and ends by itself: %s", self.name, error or "no answer in time")

    def _say(self, level: int, text: str) -> None:
        """Log what became of an attempt, once."""
        if text != self._said:
            self._said = text
            logger.log(level, "Lease %s: %s", self.name, text)
