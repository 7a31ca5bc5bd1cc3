"""The agent port: HAProxy connects, reads one line and closes.

Format: https://docs.haproxy.org/3.0/configuration.html#agent-check
"""

import asyncio
from contextlib import suppress

from gptoss_runtime.server.board import Board
from gptoss_runtime.server.verdict import agent_line


async def serve_agent(board: Board, port: int) -> asyncio.Server:
    """Return the server of the agent port, which already answers. Raises OSError when the port is taken."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(agent_line(board.judgement.verdict, board.max_num_seqs).encode())
        writer.close()
        # HAProxy may hang up first.
        with suppress(ConnectionError):
            await writer.wait_closed()

    return await asyncio.start_server(answer, port=port)
