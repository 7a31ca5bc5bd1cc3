"""The agent port: HAProxy connects, reads one line and closes.

Format: https://docs.haproxy.org/3.0/configuration.html#agent-check
"""

import asyncio
from contextlib import suppress

from gptoss_runtime.server.board import Board
from gptoss_runtime.server.gateways import Gateways
from gptoss_runtime.server.sharing import warm_capacity
from gptoss_runtime.server.verdict import agent_line


async def serve_agent(board: Board, gateways: Gateways, port: int, *, warm_up_seconds: float) -> asyncio.Server:
    """Return the server of the agent port, which already answers. Raises OSError when the port is taken."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # None when HAProxy hung up before we came to it; then nobody reads the line either.
        address = (writer.get_extra_info("peername") or ("",))[0]
        if address:
            gateways.note_check(address)
        capacity = warm_capacity(
            board.max_num_seqs, ready_seconds=board.let_in_seconds, warm_up_seconds=warm_up_seconds
        )
        granted = gateways.grant(address, capacity)
        writer.write(agent_line(board.judgement.verdict, granted, share=board.share).encode())
        writer.close()
        # HAProxy may hang up first.
        with suppress(ConnectionError):
            await writer.wait_closed()

    return await asyncio.start_server(answer, port=port)
