"""What a replica does when its engine is killed or stopped, and when it is asked to leave."""

import asyncio
from collections.abc import Callable, Collection

from e2e.bench.rows import Row
from e2e.bench.runtime.rows import CUT, DRAINED, KILLED, OURS, STOPPED_IDLE, STOPPED_LOADED
from e2e.vllm.faults import ENDLESS_TOKENS, Stopped, kill_engine, leave, stop_engine
from e2e.vllm.load import End
from e2e.vllm.replica import Replica, an_order, running_replica
from e2e.vllm.room import Room


STALL_SECONDS = 5
PROBE_SECONDS = 5
STREAMS = 32
LOAD_STREAMS = 8
SHORT_TOKENS = 60
CUT_SECONDS = 2
KILL_ITEMS, STAY_ITEMS, CUT_ITEMS = (KILLED,), (STOPPED_IDLE, STOPPED_LOADED, DRAINED), (CUT,)
"""Those that share a server's start."""


def measure_failures(room: Room, only: Collection[str], number: int) -> list[Row]:
    """Return the rows of one round. Raises ServerError, FaultError, TimeoutError."""
    rows = []
    if KILLED in only:
        with running_replica(room, an_order()) as replica:
            rows.append(_row(KILLED, number, _killed(replica)))
    stays = [item for item in STAY_ITEMS if item in only]
    if stays:
        orders = an_order(stall_seconds=STALL_SECONDS, probe_seconds=PROBE_SECONDS, drain_seconds=60)
        with running_replica(room, orders) as replica:
            rows += [_row(item, number, STAYING[item](replica)) for item in stays]
    if CUT in only:
        orders = an_order(max_num_seqs=STREAMS + 2, drain_seconds=CUT_SECONDS)
        with running_replica(room, orders) as replica:
            rows.append(_row(CUT, number, _cut(replica)))
    return rows


def _killed(replica: Replica) -> dict[str, float]:
    killed = asyncio.run(kill_engine(replica, streams=LOAD_STREAMS))
    return {
        "out_s": killed.out_seconds,
        "gone_s": killed.gone_seconds,
        "exit_status": replica.program.exit_status or 0,
        "reasons": int(bool(replica.message())),
    }


def _stopped_idle(replica: Replica) -> dict[str, float]:
    return _stop_values(asyncio.run(stop_engine(replica, streams=0)), PROBE_SECONDS)


def _stopped_loaded(replica: Replica) -> dict[str, float]:
    return _stop_values(asyncio.run(stop_engine(replica, streams=LOAD_STREAMS, tokens=400)), STALL_SECONDS)


def _stop_values(stopped: Stopped, window_seconds: float) -> dict[str, float]:
    return {
        "out_s": stopped.out_seconds,
        "after_window_s": stopped.out_seconds - window_seconds,
        "back_s": stopped.back_seconds,
    }


def _drained(replica: Replica) -> dict[str, float]:
    left = asyncio.run(leave(replica, streams=STREAMS, tokens=SHORT_TOKENS))
    return {
        "cut": STREAMS - left.ends[End.DONE],
        "out_s": left.out_seconds,
        "last_end_s": left.ended_seconds[-1],
        "gone_s": left.gone_seconds,
    }


def _cut(replica: Replica) -> dict[str, float]:
    left = asyncio.run(leave(replica, streams=STREAMS, tokens=ENDLESS_TOKENS, whole=True))
    return {
        "without_error": STREAMS - left.ends[End.ERROR],
        "last_error_after_deadline_s": left.ended_seconds[-1] - CUT_SECONDS,
        "gone_after_deadline_s": left.gone_seconds - CUT_SECONDS,
        "whole_status": left.whole.status if left.whole else 0,
    }


STAYING: dict[str, Callable[[Replica], dict[str, float]]] = {
    STOPPED_IDLE: _stopped_idle,
    STOPPED_LOADED: _stopped_loaded,
    DRAINED: _drained,
}
"""In an order in which each leaves the server as the next one needs it."""


def _row(item: str, number: int, values: dict[str, float]) -> Row:
    return Row(item=item, subject=OURS, round=number, values=values)
