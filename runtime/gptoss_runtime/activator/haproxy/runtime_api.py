"""HAProxy's runtime API: commands over a Unix socket, one for each connection.

https://docs.haproxy.org/3.0/management.html#9.3
"""

import asyncio
from pathlib import Path

from gptoss_runtime.activator.haproxy.servers import Replicas, UnreadableStat, read_stat
from gptoss_runtime.gateway_contract import Section


TIMEOUT_SECONDS = 1.0
"""How long a command may take. HAProxy answers in less than a millisecond."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""An answer larger than this is refused; 5,000 servers are 3 MB."""
NO_LIMIT = 1_000_000
"""More requests than HAProxy has connections."""


class RuntimeApiError(Exception):
    """HAProxy did not answer, or refused a command; the message says which command, and what to look at."""


class RuntimeApi:
    """HAProxy, as the activator talks to it."""

    def __init__(self, socket: Path, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._socket = socket
        self._timeout_seconds = timeout_seconds

    async def ask(self, command: str) -> str:
        """Return HAProxy's answer to one command, which may carry a payload behind `<<` and ends without a newline.

        What a refused command answers is text too; `order` is for commands that answer nothing else. Raises
        RuntimeApiError.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(command)
        except TimeoutError as error:
            raise self._failed(command, f"it did not answer in {self._timeout_seconds:g} s") from error
        except OSError as error:
            raise self._failed(command, f"{error.strerror or error}; is it running?") from error

    async def order(self, command: str) -> None:
        """Give a command that succeeds without a word. Raises RuntimeApiError, also with HAProxy's refusal."""
        answer = (await self.ask(command)).strip()
        if answer:
            raise self._failed(command, f"it said: {answer.splitlines()[0]}")

    async def replicas(self) -> Replicas:
        """Return the backend `replicas` and its servers, read at one moment. Raises RuntimeApiError."""
        command = f"show stat {Section.REPLICAS} 6 -1"
        try:
            return read_stat(await self.ask(command))
        except UnreadableStat as error:
            raise self._failed(command, str(error)) from error

    async def move_queue_to_activator(self) -> None:
        """Let HAProxy send the requests in its queue to the activator. Raises RuntimeApiError.

        For when the last replica is lost: new requests go to the backup server from then on, but those in the queue
        stay there until they time out. HAProxy looks at the queue again when a server's limit is set, and a server
        without a limit never takes from the queue.
        """
        await self.order(f"set maxconn server {Section.REPLICAS}/{Section.ACTIVATOR} {NO_LIMIT}")

    async def _exchange(self, command: str) -> str:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            writer.write(command.encode() + b"\n")
            await writer.drain()
            answer = bytearray()
            while data := await reader.read(65536):
                answer += data
                if len(answer) > MAX_ANSWER_BYTES:
                    raise self._failed(command, f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
            return answer.decode(errors="replace")
        finally:
            # Nothing of value is left to be sent, so nothing is waited for.
            writer.transport.abort()

    def _failed(self, command: str, why: str) -> RuntimeApiError:
        first_line = command.splitlines()[0]
        return RuntimeApiError(f"HAProxy's runtime API at {self._socket}: {first_line[:80]!r} failed: {why}")
