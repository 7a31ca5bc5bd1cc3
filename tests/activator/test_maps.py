"""Maps in files and in the memory of the real HAProxy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from e2e.gateway.program import haproxy_command
from e2e.ports import free_ports
from gptoss_runtime.activator.haproxy.maps import Maps, UnsafeEntry
from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi, RuntimeApiError
from gptoss_runtime.gateway_contract import Map, Socket
from tests.runtime.harness import PATIENCE_SECONDS, scenario


CONFIG = """\
global
  stats socket {run}/haproxy.sock mode 600 level admin
defaults
  mode http
  timeout client 10s
frontend door
  bind 127.0.0.1:{port}
  http-request set-var(txn.tenant) req.hdr(x-key),map_str({run}/keys.map)
  http-request set-var(txn.rate) var(txn.tenant),map_str_int({run}/rates.map)
  http-request return status 200
"""


@asynccontextmanager
async def haproxy(run: Path) -> AsyncIterator[RuntimeApi]:
    (run / "haproxy.cfg").write_text(CONFIG.format(run=run, port=free_ports(1)[0]))
    command = [*haproxy_command(), "-db", "-f", str(run / "haproxy.cfg")]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    runtime = RuntimeApi(run / Socket.RUNTIME)
    try:
        await until(lambda: answers(runtime))
        yield runtime
    finally:
        process.terminate()
        await process.wait()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what HAProxy tells nobody."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110 - another program has no event for us
            await asyncio.sleep(0.01)


async def answers(runtime: RuntimeApi) -> bool:
    try:
        return "Pid" in await runtime.ask("show info")
    except RuntimeApiError:
        return False


async def contents(runtime: RuntimeApi, run: Path, name: Map) -> dict[str, str]:
    """Return what HAProxy has in memory."""
    lines = (await runtime.ask(f"show map {run / name}")).split("\n")
    return {key: value for _, key, value in (line.split(" ") for line in lines if line)}


def many(count: int, value: str) -> dict[str, str]:
    return {f"{number:064X}": value for number in range(count)}


@scenario
async def test_maps_are_replaced_as_a_whole_however_large(tmp_path: Path) -> None:
    maps = Maps(tmp_path, RuntimeApi(tmp_path / Socket.RUNTIME))
    maps.put(Map.KEYS, many(3, "before"))
    maps.write_missing()
    assert not await maps.apply()
    async with haproxy(tmp_path) as runtime:
        assert await contents(runtime, tmp_path, Map.KEYS) == many(3, "before")
        # Of five maps, this configuration names two; the others are files alone.
        assert await maps.apply()

        maps.put(Map.KEYS, many(1000, "after"))
        maps.put(Map.RATES, {"team-a": "5"})
        maps.put(Map.BLOCKED, {"team-a": "60"})
        assert await maps.apply()
        assert await contents(runtime, tmp_path, Map.KEYS) == many(1000, "after")
        assert await contents(runtime, tmp_path, Map.RATES) == {"team-a": "5"}

        maps.put(Map.KEYS, {})
        assert await maps.apply()
        assert await contents(runtime, tmp_path, Map.KEYS) == {}
    assert (tmp_path / Map.BLOCKED).read_text() == "team-a 60\n"


@scenario
async def test_a_haproxy_that_was_started_anew_gets_what_it_missed(tmp_path: Path) -> None:
    maps = Maps(tmp_path, RuntimeApi(tmp_path / Socket.RUNTIME))
    maps.write_missing()
    async with haproxy(tmp_path):
        assert await maps.apply()
    maps.put(Map.RATES, {"team-a": "7"})
    assert not await maps.apply()
    # It read an old file just before ours was written.
    current = (tmp_path / Map.RATES).read_text()
    (tmp_path / Map.RATES).write_text("team-a 1\n")
    async with haproxy(tmp_path) as runtime:
        (tmp_path / Map.RATES).write_text(current)
        assert await maps.apply()
        assert await contents(runtime, tmp_path, Map.RATES) == {"team-a": "7"}


@scenario
async def test_changes_reach_haproxy_by_themselves(tmp_path: Path) -> None:
    maps = Maps(tmp_path, RuntimeApi(tmp_path / Socket.RUNTIME))
    maps.write_missing()
    async with haproxy(tmp_path) as runtime:
        keeping = asyncio.create_task(maps.keep())
        maps.put(Map.RATES, {"team-a": "9"})

        async def arrived() -> bool:
            return await contents(runtime, tmp_path, Map.RATES) == {"team-a": "9"}

        await until(arrived)
        keeping.cancel()


@pytest.mark.parametrize("word", ["", "a b", "a\nb", "a;b", "#a", "x" * 65, "a<<", "\u00e9"])
def test_what_could_be_more_than_a_word_is_refused(tmp_path: Path, word: str) -> None:
    maps = Maps(tmp_path, RuntimeApi(tmp_path / Socket.RUNTIME))
    for entries in ({word: "1"}, {"key": word}):
        with pytest.raises(UnsafeEntry):
            maps.put(Map.RATES, entries)
    assert not (tmp_path / Map.RATES).exists()
