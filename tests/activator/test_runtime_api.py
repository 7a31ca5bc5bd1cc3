"""HAProxy's runtime API: what it says, and how its failures are told."""

import asyncio
from pathlib import Path

import pytest

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.activator.haproxy.servers import (
    BackendStat,
    Replicas,
    ServerStat,
    ServerStatus,
    UnreadableStat,
    read_stat,
)
from tests.runtime.harness import scenario


HEADER = "# pxname,svname,qcur,scur,slim,status,weight,check_desc,addr,"


def stat(*rows: str) -> str:
    return "\n".join([HEADER, *rows, "replicas,BACKEND,3,9,999,UP,100,,,", "", ""])


def test_the_statistics_are_read_by_their_names() -> None:
    text = stat(
        'replicas,replica1,1,4,8,UP,100,"said: ""ok, yes""",10.0.0.1:8000,',
        "replicas,replica2,0,0,,DOWN 1/2,100,,[fd00::2]:8000,",
        "replicas,replica3,0,0,8,MAINT (resolution),100,,,",
        "replicas,activator,0,5,,no check,1,,unix,",
    )
    one = ServerStat(
        name="replica1", address="10.0.0.1", status=ServerStatus.UP, slots=8, running=4, queued=1, weight=100
    )
    two = ServerStat(
        name="replica2", address="fd00::2", status=ServerStatus.DOWN, slots=None, running=0, queued=0, weight=100
    )
    assert read_stat(text) == Replicas(backend=BackendStat(running=4, queued=3), servers=(one, two))
    assert read_stat(text).up() == (one,)


@pytest.mark.parametrize(
    ("status", "weight", "expected"),
    [
        ("UP", 100, ServerStatus.UP),
        ("UP 1/2", 1, ServerStatus.UP),
        ("UP", 0, ServerStatus.DRAIN),
        ("no check", 100, ServerStatus.UP),
        ("DRAIN (agent)", 100, ServerStatus.DRAIN),
        ("NOLB", 100, ServerStatus.DRAIN),
        ("DOWN (agent)", 100, ServerStatus.DOWN),
        ("DOWN 1/2", 100, ServerStatus.DOWN),
    ],
)
def test_only_a_server_that_gets_requests_is_up(status: str, weight: int, expected: ServerStatus) -> None:
    (server,) = read_stat(stat(f"replicas,replica1,0,0,8,{status},{weight},,10.0.0.1:8000,")).servers
    assert server.status is expected


@pytest.mark.parametrize(
    "text", ["", "No such proxy.\n", HEADER, stat("replicas,replica1,x,0,8,UP,100,,10.0.0.1:8000,")]
)
def test_what_is_no_statistics_is_refused(text: str) -> None:
    with pytest.raises(UnreadableStat, match="backend replicas cannot be read"):
        read_stat(text)


@scenario
async def test_failures_say_which_command_and_what_to_look_at(tmp_path: Path) -> None:
    socket = tmp_path / "haproxy.sock"
    api = RuntimeApi(socket, timeout_seconds=0.2)
    with pytest.raises(RuntimeApiError, match=r"'show info' failed: No such file or directory; is it running\?"):
        await api.ask("show info")

    release = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = (await reader.readline()).decode().strip()
        if command == "hang":
            await release.wait()
        writer.write({"refuse": b"Permission denied\n\n", "show stat replicas 6 -1": b"nonsense"}.get(command, b"\n"))
        writer.close()

    server = await asyncio.start_unix_server(answer, socket)
    try:
        assert await api.ask("anything") == "\n"
        await api.order("anything")
        with pytest.raises(RuntimeApiError, match="'refuse' failed: it said: Permission denied"):
            await api.order("refuse")
        with pytest.raises(RuntimeApiError, match=r"'hang' failed: it did not answer in 0\.2 s"):
            await api.ask("hang")
        with pytest.raises(RuntimeApiError, match="cannot be read"):
            await api.replicas()
    finally:
        release.set()
        server.close()
