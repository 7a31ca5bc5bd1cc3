"""A rollout lets a replica in, or not: what the pod's file says, and what kubelet, gateway and operator hear."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import CLOSED_SHARE, OPEN_SHARE, Phase, Traffic, Verdict, canary_share
from gptoss_runtime.server.traffic import follow_traffic, read_word
from gptoss_runtime.server.verdict import Judgement, Seen, agent_line, judge
from gptoss_runtime.server.watchdog import Finding
from tests.runtime.harness import PATIENCE_SECONDS, Server, a_model, an_order, running, scenario


WAITS = "it could serve; a rollout lets it in when it has passed its gates"
UP = Seen(running=True, was_ready=True, start_phase=Phase.WARMING)
CLOSED = replace(UP, closed=True)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 100),
        (" \n", 100),
        ("open\n", 100),
        ("closed", 0),
        ("25", 25),
        ("1", 1),
        ("100", 100),
        ("0", None),
        ("101", None),
        ("-5", None),
        ("2.5", None),
        ("25%", None),
        ("Closed", None),
        ("9" * 5000, None),
    ],
)
def test_a_word_grants_a_share(text: str, share: int | None) -> None:
    assert canary_share(text) == share


@given(st.text() | st.integers().map(str) | st.sampled_from(Traffic))
def test_no_word_grants_anything_but_a_percentage(text: str) -> None:
    share = canary_share(text)
    assert share is None or CLOSED_SHARE <= share <= OPEN_SHARE


@given(st.integers(0, 100), st.integers(1, 512), st.booleans())
def test_the_agent_never_says_ready_without_a_share(share: int, granted: int, ready: bool) -> None:  # noqa: FBT001
    line = agent_line(Verdict(ready=ready, live=True, reason=""), granted, share=share)
    assert line == (f"up ready {share}% maxconn:{granted}\n" if ready and share else "drain\n")


@pytest.mark.parametrize(
    ("seen", "phase"),
    [
        (CLOSED, Phase.WAITING),
        (replace(CLOSED, finding=Finding(fault="it hangs")), Phase.NOT_READY),
        (replace(CLOSED, gpu_fault="XID 79"), Phase.NOT_READY),
        (replace(CLOSED, leaving="asked to stop"), Phase.DRAINING),
        (replace(CLOSED, was_ready=False), Phase.WARMING),
        (replace(CLOSED, running=False), Phase.STOPPED),
    ],
)
def test_only_what_could_serve_waits(seen: Seen, phase: Phase) -> None:
    assert judge(seen).phase is phase
    assert not judge(seen).verdict.ready


def test_what_waits_is_well() -> None:
    assert judge(CLOSED) == Judgement(phase=Phase.WAITING, verdict=Verdict(ready=False, live=True, reason=WAITS))


def test_a_file_that_is_absent_or_no_file_says_nothing(tmp_path: Path) -> None:
    assert read_word(tmp_path / "absent") == ""
    assert read_word(tmp_path) == ""
    (tmp_path / "traffic").write_bytes(b"\xff\n" + b"x" * 10000)
    assert canary_share(read_word(tmp_path / "traffic")) is None


@scenario
async def test_an_unknown_word_is_told_once_and_leaves_the_replica_open() -> None:
    said: list[str] = []
    shares: asyncio.Queue[int] = asyncio.Queue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gptoss_runtime.server.traffic.READ_EVERY_SECONDS", 0.0)
        patch.setattr("gptoss_runtime.server.traffic.read_word", lambda _: "ajar")
        patch.setattr("gptoss_runtime.server.traffic.log.warning", lambda words, *about: said.append(words % about))
        following = asyncio.create_task(follow_traffic(Path("traffic"), shares.put_nowait))
        assert [await shares.get() for _ in range(3)] == [OPEN_SHARE] * 3
        following.cancel()
    assert len(said) == 1
    assert "'ajar'" in said[0]


async def until(server: Server, line: str) -> None:
    """Wait until the gateways hear this."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await server.agent() != line:  # noqa: ASYNC110 - as HAProxy asks
            await asyncio.sleep(0.05)


def says(server: Server) -> Callable[[str], int]:
    return server.traffic_file.write_text


@scenario
async def test_a_closed_replica_waits_and_is_let_in_by_and_by(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("closed")
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.WAITING)
        assert (await server.get("/startupz"))[0] == 200
        assert await server.get("/readyz") == (503, f"{WAITS}\n")
        assert (await server.get("/livez"))[0] == 200
        assert await server.agent() == "drain\n"
        state = await server.state()
        assert (state.phase, state.verdict.ready) == (Phase.WAITING, False)
        assert state.gauges["load_seconds"] > 0
        assert "gptoss_server_traffic_share 0.0" in (await server.get("/metrics"))[1]

        says(server)("25")
        await until(server, "up ready 25% maxconn:4\n")
        assert (await server.get("/readyz"))[0] == 200
        assert (await server.state()).phase is Phase.READY
        assert "gptoss_server_traffic_share 0.25" in (await server.get("/metrics"))[1]
        says(server)("open\n")
        await until(server, "up ready 100% maxconn:4\n")
        says(server)("closed")
        await until(server, "drain\n")
        server.traffic_file.unlink()
        await until(server, "up ready 100% maxconn:4\n")


@scenario
async def test_the_capacity_grows_from_when_it_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("closed")
    orders = an_order(a_model(tmp_path), max_num_seqs=400)
    async with running(orders, tmp_path, GPTOSS_WARM_UP_SECONDS="5") as server:
        await server.phase(Phase.WAITING)
        # Longer than the capacity grows.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (state := await server.state()).uptime_seconds < state.gauges["load_seconds"] + 5:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        says(server)("open")
        await server.phase(Phase.READY)
        assert 100 <= int((await server.agent()).removeprefix("up ready 100% maxconn:")) < 400


@scenario
async def test_faults_and_leaving_come_before_waiting(tmp_path: Path) -> None:
    (tmp_path / "traffic").write_text("closed")
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.WAITING)
        await server.order("health?status=503")
        await server.phase(Phase.NOT_READY)
        await server.order("health?status=200")
        server.output.clear()
        await server.phase(Phase.WAITING)
        server.signal(signal.SIGTERM)
        await server.phase(Phase.DRAINING)
        assert await server.ended() == 0
