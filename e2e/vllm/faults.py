"""What happens to a replica: its engine is killed or stopped, it is asked to leave. Measured, not judged.

Scenarios hold the numbers against bounds, and the benchmark against its bars.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

from e2e.vllm.load import Clients, End, Request, clients, ended, watched
from e2e.vllm.replica import Replica
from gptoss_runtime.contract import ReplicaState


ENDLESS_TOKENS = 3000
"""Of streams that are to run until something ends them."""
HEAL_SECONDS = 60.0
OUT_SECONDS = 60.0
"""How long the verdict is waited for; longer than any bar."""
GONE_SECONDS = 120.0


class FaultError(RuntimeError):
    """What was to be measured did not come about; the message says what was seen instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """The engine was killed under load."""

    out_seconds: float
    """Until readiness and agent both said so."""
    gone_seconds: float
    """Until the server had ended."""
    ends: Counter[End]
    """Of the streams that ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The engine was stopped as a hang would stop it, and went on after the replica had noticed."""

    out_seconds: float
    """Until readiness and agent both said so."""
    back_seconds: float
    """From going on until both said that it takes requests again."""
    state: ReplicaState
    """What the replica said of itself while its engine was stopped."""
    ends: Counter[End]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The server was asked to stop while streams ran. Seconds are counted from the asking."""

    out_seconds: float
    ends: Counter[End]
    errors: frozenset[str]
    """What the streams that did not end well were told."""
    ended_seconds: tuple[float, ...]
    """When each stream ended, in order."""
    gone_seconds: float
    whole: Request | None
    """The request that was not streamed, if there was one."""
    whole_seconds: float | None


async def kill_engine(replica: Replica, *, streams: int) -> Killed:
    """SIGKILL the engine under load, and wait for the server's end. Raises TimeoutError, FaultError."""
    async with clients(replica.openai_port) as load, watched(replica) as watcher:
        running = await begun(load, streams)
        killed = time.monotonic()
        os.kill(replica.engine_pid(), SIGKILL)
        out = await watcher.out(seconds=OUT_SECONDS)
        gone = await ended(replica, seconds=GONE_SECONDS)
        await load.all_ended()
    return Killed(out_seconds=out - killed, gone_seconds=gone - killed, ends=Counter(one.end for one in running))


async def stop_engine(replica: Replica, *, streams: int, tokens: int = ENDLESS_TOKENS) -> Stopped:
    """SIGSTOP the engine until the replica says that it is out, then let it go on. Raises TimeoutError, FaultError."""
    async with clients(replica.openai_port) as load, watched(replica) as watcher:
        await watcher.back(seconds=HEAL_SECONDS)
        running = await begun(load, streams, tokens)
        engine = replica.engine_pid()
        stopped = time.monotonic()
        os.kill(engine, SIGSTOP)
        try:
            out = await watcher.out(seconds=OUT_SECONDS)
            state = await watcher.state()
        finally:
            os.kill(engine, SIGCONT)
        going = time.monotonic()
        back = await watcher.back(seconds=HEAL_SECONDS)
        await load.all_ended()
    ends = Counter(one.end for one in running)
    return Stopped(out_seconds=out - stopped, back_seconds=back - going, state=state, ends=ends)


async def stop_engine_for_good(replica: Replica, *, streams: int) -> float:
    """SIGSTOP the engine under load and return the seconds until the server has ended. Raises TimeoutError."""
    async with clients(replica.openai_port) as load, watched(replica) as watcher:
        await watcher.back(seconds=HEAL_SECONDS)
        await begun(load, streams)
        stopped = time.monotonic()
        os.kill(replica.engine_pid(), SIGSTOP)
        return await ended(replica, seconds=GONE_SECONDS) - stopped


async def leave(replica: Replica, *, streams: int, tokens: int, whole: bool = False) -> Left:
    """SIGTERM while so many streams run, and a request that is not streamed if `whole`. Raises TimeoutError.

    With `whole`, the replica must run two more requests at once: that one, and one that shows that it has arrived.
    """
    async with clients(replica.openai_port) as load, watched(replica) as watcher:
        running = await begun(load, streams, tokens)
        other = load.begin(tokens, stream=False) if whole else None
        if other is not None:
            await received(load)
        asked = time.monotonic()
        replica.program.signal(SIGTERM)
        out = await watcher.out(seconds=OUT_SECONDS)
        gone = await ended(replica, seconds=GONE_SECONDS)
        await load.all_ended()
    return Left(
        out_seconds=out - asked,
        ends=Counter(one.end for one in running),
        errors=frozenset(one.error for one in running if one.error),
        ended_seconds=tuple(sorted(seconds_to(one, asked) for one in running)),
        gone_seconds=gone - asked,
        whole=other,
        whole_seconds=None if other is None else seconds_to(other, asked),
    )


async def begun(load: Clients, streams: int, tokens: int = ENDLESS_TOKENS) -> list[Request]:
    """Return streams that run, each with its first token. Raises FaultError when one has ended already."""
    running = await load.streams(streams, tokens)
    if over := [one for one in running if one.ended is not None]:
        raise FaultError(f"{len(over)} of {streams} streams were over too early: {over[0].end} {over[0].error}")
    return running


async def received(load: Clients) -> None:
    """Wait until vLLM has all requests that were begun before: one more goes through after them."""
    last = await load.one(1)
    if last.end is not End.DONE:
        raise FaultError(f"a request before the signal ended badly: {last.end} {last.error}")


def seconds_to(request: Request, since: float) -> float:
    """Return when a request ended, in seconds after `since`."""
    assert request.ended is not None
    return request.ended - since
