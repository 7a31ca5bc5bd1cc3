"""Holding behind the real HAProxy: nothing is lost, and what must be bounded is."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp

from gptoss_runtime.activator.haproxy.runtime_api import RuntimeApi
from gptoss_runtime.contract import Phase
from tests.activator.hold_harness import EVENTS, PATIENCE_SECONDS, error_code, gateway, until
from tests.runtime.harness import scenario


STREAM_END = "".join([*EVENTS, "data: [DONE]\n\n"])


@scenario
async def test_requests_without_a_replica_are_held_and_all_answered_by_the_first_one(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        asked = [gate.post(number) for number in range(50)]
        await gate.at_activator(50)
        await gate.replicas[0].starts()

        answers = await asyncio.gather(*asked)

        assert [(status, json.loads(body)["number"]) for status, body, _ in answers] == [(200, n) for n in range(50)]
        assert gate.replicas[0].served == 50


@scenario
async def test_a_held_stream_sees_how_far_the_start_is_and_then_its_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=0.2) as gate:
        await gate.replicas[1].loads(uptime_seconds=40.4)
        body = {"number": 1, "stream": True}
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as answer,
        ):
            assert (answer.status, answer.headers["x-accel-buffering"]) == (200, "no")
            assert answer.content_type == "text/event-stream"
            comment = b""
            while b"loading" not in comment:
                comment = await answer.content.readuntil(b"\n\n")
            # Never seen a start: there is no estimate.
            assert comment == (
                b": no replica is ready yet; 1 of 2 starting, loading the model for 40 s, "
                b"how long it takes is not known yet\n\n"
            )
            await gate.replicas[0].starts()
            rest = (await answer.content.read()).decode()

        comments, first, _ = rest.partition("data: ")
        assert all(part.startswith(": ") for part in comments.split("\n\n")[:-1])
        assert rest.removeprefix(comments) == STREAM_END
        assert first


@scenario
async def test_the_estimate_is_learnt_from_the_start_before(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=0.1) as gate:
        replica = gate.replicas[0]

        async def was_asked(phase: Phase) -> None:
            async def so() -> bool:
                return replica.told[phase] > 0

            await until(so)

        await replica.loads(uptime_seconds=29.0)
        held = gate.post(1)
        await was_asked(Phase.LOADING)
        await replica.starts()
        assert (await held)[0] == 200
        await was_asked(Phase.READY)
        await replica.dies()
        await replica.loads(uptime_seconds=10.0)
        await gate.sees_up(0)
        body = {"number": 2, "stream": True}
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as answer,
        ):
            comment = b""
            while b"loading" not in comment:
                comment = await answer.content.readuntil(b"\n\n")
        assert comment.endswith(b"loading the model for 10 s, about 20 s to go\n\n")


@scenario
async def test_a_short_stream_is_held_without_a_head_and_goes_on_by_haproxy(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=60.0) as gate:
        held = gate.post(1, stream=True)
        await gate.at_activator(1)
        await gate.replicas[0].starts()
        status, body, headers = await held
        assert (status, body) == (200, STREAM_END)
        assert "x-accel-buffering" not in headers


@scenario
async def test_no_more_are_held_than_allowed(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold_max_requests=2) as gate:
        held = [gate.post(number) for number in range(2)]
        await gate.at_activator(2)

        status, body, headers = await gate.post(3)
        assert (status, error_code(body), headers["retry-after"]) == (429, "hold_full", "5")
        assert json.loads(body)["error"]["type"] == "rate_limit_error"

        await gate.replicas[0].starts()
        assert [answer[0] for answer in await asyncio.gather(*held)] == [200, 200]


@scenario
async def test_a_client_that_leaves_makes_room(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold_max_requests=1, heartbeat_seconds=0.1) as gate:
        for stream in (False, True):
            held = gate.post(1, stream=stream)
            await gate.at_activator(1)
            held.cancel()
            await gate.at_activator(0)
        held = gate.post(2)
        await gate.at_activator(1)
        await gate.replicas[1].starts()
        assert (await held)[0] == 200


@scenario
async def test_a_request_that_waits_too_long_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with gateway(tmp_path, hold_max_wait_seconds=0.5, heartbeat_seconds=0.1) as gate:
        plain, stream = gate.post(1), gate.post(2, stream=True)

        status, body, headers = await plain
        assert (status, error_code(body), headers["retry-after"]) == (429, "hold_timeout", "5")

        status, body, _ = await stream
        error, done = [part for part in body.split("\n\n") if part.startswith("data: ")]
        assert (status, error_code(error.removeprefix("data: ")), done) == (200, "hold_timeout", "data: [DONE]")


@scenario
async def test_all_replicas_die_and_come_back_and_nothing_is_lost(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=0.3) as gate:
        for replica in gate.replicas:
            await replica.starts()
        await gate.sees_up(2)
        for _ in range(3):
            assert {(await gate.post(number))[0] for number in range(4)} == {200}
            for replica in gate.replicas:
                await replica.dies()
            # Some meet the dead replicas, some are held from the start.
            asked = [gate.post(number, stream=number % 2 == 0) for number in range(30)]
            await gate.at_activator(30)
            for replica in gate.replicas:
                await replica.starts()
            answers = await asyncio.gather(*asked)
            assert [status for status, _, _ in answers] == [200] * 30
            assert all(body.endswith(STREAM_END) for _, body, _ in answers[::2])
            await gate.sees_up(2)


@scenario
async def test_what_waits_in_haproxys_queue_is_held_when_the_last_replica_is_lost(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        for replica in gate.replicas:
            await replica.starts()
            replica.answers.clear()
        await gate.sees_up(2)
        asked = [gate.post(number) for number in range(20)]
        await gate.in_queue(12)
        for replica in gate.replicas:
            await replica.dies()
        await gate.at_activator(20)
        await gate.replicas[0].starts()
        assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 20


@scenario
async def test_a_held_stream_whose_replica_is_lost_before_its_answer_goes_to_another(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=0.1) as gate:
        gate.replicas[0].lose = 1
        body = {"number": 1, "stream": True}
        async with gate.session.post(f"{gate.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readuntil(b"\n\n")
            await gate.replicas[0].starts()
            rest = await answer.text()
        assert (answer.status, gate.replicas[0].lose) == (200, 0)
        assert rest.endswith(STREAM_END)
        assert "error" not in rest


@scenario
async def test_a_leaving_gateway_closes_connections_after_their_answers(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        await gate.replicas[0].starts()
        await gate.sees_up(1)
        assert "connection" not in (await gate.post(1))[2]
        assert await gate.get("/leave") == (200, "left\n")
        assert (await gate.post(2))[2]["connection"] == "close"


@scenario
async def test_what_is_held_goes_on_when_the_activator_is_asked_to_stop(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        held = gate.post(1)
        await gate.at_activator(1)
        gate.activator.send_signal(signal.SIGTERM)
        await gate.replicas[0].starts()
        assert (await held)[0] == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await gate.activator.wait() == 0


@scenario
async def test_a_long_body_is_held_whole(tmp_path: Path) -> None:
    async with gateway(tmp_path, heartbeat_seconds=0.1) as gate, aiohttp.ClientSession() as session:
        # Beyond HAProxy's buffer, so only one that the activator answers itself goes on.
        body = {"number": 1, "stream": True, "messages": "x" * 200_000}
        async with session.post(f"{gate.url}/v1/chat/completions", json=body) as answer:
            await answer.content.readuntil(b"\n\n")
            await gate.replicas[0].starts()
            assert (await answer.text()).endswith(STREAM_END)


@scenario
async def test_the_runtime_api_knows_the_replicas(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        await gate.replicas[1].starts()
        await gate.sees_up(1)
        found = (await RuntimeApi(tmp_path / "haproxy.sock").replicas()).servers
        assert [(s.name, s.address, s.status, s.slots, s.weight) for s in found] == [
            ("replica1", "127.0.41.11", "down", 4, 100),
            ("replica2", "127.0.41.12", "up", 4, 100),
        ]
