"""The hold's socket: what HAProxy sends to its backup server while no replica is usable."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from gptoss_runtime.activator.forward import Forwarder, Request
from gptoss_runtime.activator.hold.carry import Carried, Turn
from gptoss_runtime.activator.hold.hold import Hold
from gptoss_runtime.activator.hold.refusal import Refusal
from gptoss_runtime.activator.hold.wire import Wire
from gptoss_runtime.gateway_contract import ARRIVAL_DIGITS, GatewayOrders, Header


KEPT_BODIES_BYTES = 64 * 1024 * 1024
"""Memory for the bodies of requests that this may have to send. One beyond it is HAProxy's to send, which has it too:
as a stream it gets no heartbeats, and if it lost replicas before, HAProxy may have no try left."""
FRESH_SECONDS = 0.05
"""A request that takes longer from the front door to here has been at a replica, or in the queue of one."""
BACKLOG = 4096
"""Connections that may wait to be accepted: all that HAProxy opens at once when the last replica is lost."""
SOCKET_MODE = 0o660


class Held:
    """One held request: answered by a few fixed bytes when it goes on, or by a task once it is a stream with a head."""

    def __init__(self, wire: Wire, request_id: str) -> None:
        self.id = request_id
        self.wire = wire
        self.kept_bytes = 0
        """Of the body, where the activator may have to send the request."""
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self._turn: Turn | None = None

    def go_on(self) -> None:
        """Let HAProxy or the task send it to a replica."""
        self._end(None)

    def refuse(self, refusal: Refusal) -> None:
        """Tell the client that it cannot go on."""
        self._end(refusal)

    def new_turn(self) -> Turn:
        """Return what is done when the request goes on or is refused."""
        self._turn = asyncio.get_running_loop().create_future()
        return self._turn

    def _end(self, refusal: Refusal | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self._turn is not None:
            # Done already only if the client has just left.
            if not self._turn.done():
                self._turn.set_result(refusal)
        elif refusal is not None:
            self.wire.refuse(refusal)
        else:
            self.wire.go_on()


class HoldServer:
    """All requests on the hold's socket."""

    def __init__(self, orders: GatewayOrders, hold: Hold, forwarder: Forwarder) -> None:
        self._orders = orders
        self._hold = hold
        self._forwarder = forwarder
        self._held: dict[Wire, Held] = {}
        self._carried: set[str] = set()
        """Requests that a task of this activator may be sending to HAProxy."""
        self._kept_bytes = 0
        self._ended = asyncio.Event()
        self._ended.set()

    def new_wire(self) -> Wire:
        """Return the protocol of a new connection."""
        return Wire(max_body_bytes=self._orders.max_body_bytes, asked=self._asked, gone=self._gone)

    async def ended(self) -> None:
        """Wait until no request is left: each has its answer, or its client has gone."""
        await self._ended.wait()

    def _asked(self, wire: Wire, request: Request) -> None:
        request_id = request.header(Header.REQUEST_ID)
        if request_id in self._carried:
            wire.bounce()
            return
        held = self._held[wire] = Held(wire, request_id)
        self._ended.clear()
        is_stream, is_fresh = wants_stream(request.body), age_seconds(request) < FRESH_SECONDS
        if (is_stream or not is_fresh) and self._kept_bytes + len(request.body) <= KEPT_BODIES_BYTES:
            held.kept_bytes = len(request.body)
            self._kept_bytes += held.kept_bytes
            beat = self._orders.heartbeat_seconds
            if is_fresh:
                held.timer = asyncio.get_running_loop().call_later(beat, self._carry, held, request, beat, 0.0)
            else:
                self._carry(held, request, beat if is_stream else None, beat)
        self._hold.admit(held)

    def _carry(
        self, held: Held, request: Request, heartbeat_seconds: float | None, first_heartbeat_seconds: float
    ) -> None:
        """Have a task answer a held request from now on."""
        carried = Carried(
            held.wire,
            request,
            forwarder=self._forwarder,
            heartbeat_seconds=heartbeat_seconds,
            first_heartbeat_seconds=first_heartbeat_seconds,
        )
        first = held.new_turn()

        def wait_again() -> Turn:
            turn = held.new_turn()
            self._hold.admit(held)
            return turn

        if held.id:
            self._carried.add(held.id)
        answering = carried.answer(first, wait_again, lambda: self._hold.outlook().text)
        held.task = asyncio.create_task(answering)
        # Whatever went wrong, HAProxy must not wait for ever.
        held.task.add_done_callback(lambda _: held.wire.cut_stream())

    def _gone(self, wire: Wire) -> None:
        held = self._held.pop(wire, None)
        if held is None:
            return
        self._hold.forget(held)
        self._carried.discard(held.id)
        self._kept_bytes -= held.kept_bytes
        if held.timer is not None:
            held.timer.cancel()
        if held.task is not None:
            held.task.cancel()
        if not self._held:
            self._ended.set()


class _Ask(msgspec.Struct):
    """The one field that matters here; all others are skipped without being decoded."""

    stream: bool | None = None


_decode = msgspec.json.Decoder(_Ask).decode


def wants_stream(body: bytes) -> bool:
    """Return whether the request asks for a stream of events."""
    try:
        return bool(_decode(body).stream)
    except msgspec.DecodeError:
        return False


def age_seconds(request: Request) -> float:
    """Return how long ago the request arrived at the front door, by its id; zero if that does not say."""
    request_id = request.header(Header.REQUEST_ID)
    if len(request_id) <= ARRIVAL_DIGITS:
        return 0.0
    try:
        return time.time() - int(request_id[:ARRIVAL_DIGITS], 16) / 1000
    except ValueError:
        return 0.0


@asynccontextmanager
async def serve_hold(server: HoldServer, socket: Path) -> AsyncIterator[asyncio.Server]:
    """Listen on the hold's socket while the block runs. Raises OSError when it cannot."""
    listening = await asyncio.get_running_loop().create_unix_server(server.new_wire, socket, backlog=BACKLOG)
    try:
        socket.chmod(SOCKET_MODE)  # noqa: ASYNC240 - one call, on a file system in memory
        yield listening
    finally:
        listening.close()
