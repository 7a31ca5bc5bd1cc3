"""A simulated replica: OpenAI's API without a model, health and agent, each on the port of the contract.

    python -m e2e.gateway.replica ADDRESS

Answers are immediate unless told otherwise. `POST /set` on the health port takes JSON with fields of `Behaviour`;
`GET /seen` there tells what came. A prompt that holds `die` breaks the connection after three chunks, `die early`
before anything.
"""

import asyncio
import dataclasses
import json
import socket
import sys
from typing import Any

from gptoss_runtime.contract import AGENT_PORT, HEALTH_PORT, OPENAI_PORT
from gptoss_runtime.gateway_contract import USAGE_PORT, Header, Usage


MAX_BODY = 32 * 2**20


@dataclasses.dataclass(kw_only=True)
class Behaviour:
    """How the replica behaves now."""

    ready: bool = True
    drain: bool = False
    slots: int = 128
    first_token_seconds: float = 0.0
    chunks: int = 5
    gap_seconds: float = 0.0
    status: int = 200
    usage_address: str = ""
    """Where reports of tokens go. Empty: to where the request came from."""
    usage_port: int = USAGE_PORT


@dataclasses.dataclass(kw_only=True)
class Seen:
    """What came since the start."""

    requests: int = 0
    """With a complete body."""
    heads: int = 0
    """Complete heads; more than requests when a body did not come."""
    running: int = 0
    peak: int = 0
    aborted: int = 0
    """Answers whose client went away."""
    last_head: str = ""
    last_body_bytes: int = 0


class Replica:
    """One simulated replica."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.behaviour = Behaviour()
        self.seen = Seen()

    async def serve(self) -> None:
        """Serve until cancelled."""
        ports = ((OPENAI_PORT, self._openai), (HEALTH_PORT, self._health), (AGENT_PORT, self._agent))
        servers = [await asyncio.start_server(handle, self.address, port, limit=2**17) for port, handle in ports]
        print("ready", flush=True)
        await asyncio.gather(*(server.serve_forever() for server in servers))

    async def _agent(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = self.behaviour
        line = f"up ready 100% maxconn:{now.slots}\n" if now.ready and not now.drain else "drain\n"
        writer.write(line.encode())
        writer.close()

    async def _health(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await _request(reader)
        path = head.split(" ", 2)[1]
        status, document = 200, {}
        if path == "/readyz":
            status = 200 if self.behaviour.ready else 503
        elif path == "/set":
            self.behaviour = dataclasses.replace(self.behaviour, **json.loads(body))
        elif path == "/seen":
            document = dataclasses.asdict(self.seen)
        elif path == "/state":
            phase = "Ready" if self.behaviour.ready else "Loading"
            verdict = {"ready": self.behaviour.ready, "live": True, "reason": "simulated"}
            document = {"version": 1, "start_id": "1", "sequence": 1, "phase": phase, "verdict": verdict}
            document |= {"uptime_seconds": 1.0, "counters": {}, "gauges": {"load_seconds": 3.0}}
        writer.write(_answer(status, json.dumps(document).encode()))
        writer.close()

    async def _openai(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.seen.heads += 1
        self.seen.last_head = head
        body = await _body(reader, head)
        self.seen.requests += 1
        self.seen.last_body_bytes = len(body)
        self.seen.running += 1
        self.seen.peak = max(self.seen.peak, self.seen.running)
        try:
            await self._respond(head, body, writer)
        except ConnectionError:
            self.seen.aborted += 1
            raise
        finally:
            self.seen.running -= 1

    async def _respond(self, head: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        now = self.behaviour
        await asyncio.sleep(now.first_token_seconds)
        if b"die early" in body:
            writer.transport.abort()
            raise ConnectionError
        if now.status != 200:
            writer.write(_answer(now.status, b'{"error":{"message":"simulated"}}'))
            return
        if b'"stream": true' in body or b'"stream":true' in body:
            await self._stream(body, writer)
        else:
            writer.write(_answer(200, json.dumps(_completion(self.address)).encode(), self.address))
        await writer.drain()
        self._report(head, writer)

    async def _stream(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        now = self.behaviour
        head = f"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-replica: {self.address}\r\n\r\n"
        for number in range(now.chunks):
            event = b"data: " + json.dumps(_chunk(number, self.address)).encode() + b"\n\n"
            first = f"HTTP/1.1 200 OK\r\n{head}".encode() if number == 0 else b""
            writer.write(first + _framed(event))
            await writer.drain()
            if writer.transport.is_closing():
                raise ConnectionError
            if b"die" in body and number == 2:
                writer.transport.abort()
                raise ConnectionError
            await asyncio.sleep(now.gap_seconds)
        writer.write(_framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def _report(self, head: str, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        tenant = fields.get(Header.TENANT)
        peer = writer.get_extra_info("peername")
        if tenant is None or peer is None:
            return
        usage = Usage(id=fields.get(Header.REQUEST_ID, ""), tenant=tenant, prompt_tokens=7, generation_tokens=5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(usage.encode(), (self.behaviour.usage_address or peer[0], self.behaviour.usage_port))


def _completion(address: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"from {address}"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "openai/gpt-oss-20b",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }


def _chunk(number: int, address: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "openai/gpt-oss-20b",
        "choices": [{"index": 0, "delta": {"content": f"{number} from {address} "}, "finish_reason": None}],
    }


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _answer(status: int, body: bytes, address: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Simulated\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}x-replica: {address}\r\n\r\n".encode() + body


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    return head, await _body(reader, head)


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in fields:
        return await reader.readexactly(min(int(fields["content-length"]), MAX_BODY))
    if fields.get("transfer-encoding") != "chunked":
        return b""
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        """Trailers say nothing here."""
    return body


if __name__ == "__main__":
    asyncio.run(Replica(sys.argv[1]).serve())
