"""Carry connections from a port of the machine's loopback address into the cluster's network.

A socket belongs to the network in which it was made. So the listening one, made outside, is handed to this program,
which runs inside and connects from there: `forward.py DESCRIPTOR HOST PORT`.
"""

import asyncio
import contextlib
import socket
import sys


CHUNK_BYTES = 65536


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then end the sink's direction only: the other one may still have something to say."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


async def serve(descriptor: int, host: str, port: int) -> None:
    """Forward every connection accepted on the descriptor until this process is ended."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()  # nobody listens inside yet; the client sees a closed connection and tries again
            return
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(carry, sock=socket.socket(fileno=descriptor))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
