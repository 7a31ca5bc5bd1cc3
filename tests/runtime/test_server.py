"""gptoss-server as a real process over a fake vLLM."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from e2e.ports import free_ports
from gptoss_runtime.contract import ExitCode, Phase, Verdict
from tests.runtime.fake_vllm import ENGINE_DEATH
from tests.runtime.harness import a_model, an_order, running, scenario


NO_MEMORY = (
    "ValueError: No available memory for the cache blocks."
    " Remedy: raise spec.tensorParallel or spec.engine.gpuMemoryUtilization"
)
BAD_USAGE = "unrecognized arguments: --frobnicate. Remedy: correct spec.engine.extraArgs"


@scenario
async def test_answers_while_loading_and_becomes_ready_when_vllm_is(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running(an_order(a_model(tmp_path)), tmp_path, FAKE_LOAD=str(gate)) as server:
        await server.phase(Phase.LOADING)
        assert await server.get("/startupz") == (503, "vLLM is loading the model\n")
        assert await server.get("/readyz") == (503, "vLLM is loading the model\n")
        assert (await server.get("/livez"))[0] == 200
        assert await server.agent() == "drain\n"
        loading = await server.state()

        gate.write_bytes(b"1")
        await server.phase(Phase.READY)
        for path in ("/startupz", "/readyz", "/livez"):
            assert await server.get(path) == (200, "vLLM is up\n")
        assert await server.agent() == "up ready 100% maxconn:4\n"
        state = await server.state()
        assert state.phase is Phase.READY
        assert state.verdict == Verdict(ready=True, live=True, reason="vLLM is up")
        assert state.start_id == loading.start_id
        assert state.sequence == loading.sequence + 1
        assert state.gauges["max_num_seqs"] == 4
        assert state.gauges["requests_in_flight"] == 0
        assert "requests_running" not in loading.gauges


@scenario
async def test_metrics_are_vllms_and_ours(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        status, text = await server.get("/metrics")
        assert status == 200
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert families["vllm:num_requests_running"].samples[0].value == 0
        assert families["gptoss_server_ready"].samples[0].value == 1
        phases = {s.labels["phase"]: s.value for s in families["gptoss_server_phase"].samples}
        assert [phase for phase, value in phases.items() if value] == ["Ready"]


@scenario
async def test_tokens_are_counted_by_tenant(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream(tenant="acme")
        await server.order("finish")
        await stream.text()
        _, text = await server.get("/metrics")
    assert 'gptoss_server_tokens_total{direction="prompt",tenant="acme"} 7.0' in text
    assert 'gptoss_server_tokens_total{direction="generation",tenant="acme"} 2.0' in text
    assert "gptoss_server_usage_reports_unsent_total 0.0" in text


@scenario
async def test_gateways_share_what_others_leave(tmp_path: Path) -> None:
    first, second = "127.0.83.2", "127.0.83.3"
    async with running(an_order(a_model(tmp_path), max_num_seqs=8), tmp_path) as server:
        await server.phase(Phase.READY)
        assert await server.agent(first) == "up ready 100% maxconn:8\n"
        connector = aiohttp.TCPConnector(local_addr=(first, 0))
        async with aiohttp.ClientSession(connector=connector) as gateway:
            streams = [await server.start_stream(gateway) for _ in range(3)]
            # The first may use all that the second leaves, which for now is everything.
            await server.grants(second, 5)
            assert await server.agent(first) == "up ready 100% maxconn:8\n"
            direct = await server.start_stream()
            await server.grants(second, 4)
            await server.order("finish")
            for stream in (*streams, direct):
                await stream.text()
        # The first asks no more: the second is alone.
        await server.grants(second, 8)


@scenario
async def test_the_capacity_grows_after_the_start(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), max_num_seqs=400)
    async with running(orders, tmp_path, GPTOSS_WARM_UP_SECONDS="3") as server:
        await server.phase(Phase.READY)
        first = await server.agent()
        assert 100 <= int(first.removeprefix("up ready 100% maxconn:")) < 400
        await server.grants("127.0.0.1", 400)


@scenario
async def test_vllm_gets_the_planned_arguments_and_environment(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    orders = an_order(model, tensor_parallel_size=1, extra_args=("--seed", "7"))
    async with running(orders, tmp_path, GPTOSS_DEVICE="cpu") as server:
        await server.phase(Phase.READY)
        async with server.session.get(f"http://127.0.0.1:{server.openai_port}/fake/arguments") as response:
            said = json.loads(await response.text())
    assert said["arguments"][0] == model
    assert said["arguments"][-3:] == ["--enforce-eager", "--seed", "7"]
    assert said["environment"]["HF_HUB_OFFLINE"] == "1"
    assert said["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "1"


@scenario
async def test_running_streams_finish_and_new_ones_are_taken_during_the_grace(tmp_path: Path) -> None:
    orders = an_order(a_model(tmp_path), endpoint_grace_seconds=2)
    async with running(orders, tmp_path) as server:
        await server.phase(Phase.READY)
        early = await server.start_stream()
        server.signal(signal.SIGTERM)
        await server.phase(Phase.DRAINING)
        assert (await server.get("/readyz"))[0] == 503
        assert (await server.get("/livez"))[0] == 200
        assert await server.agent() == "drain\n"
        late = await server.start_stream()
        await server.order("finish")
        assert (await early.text()).endswith("data: [DONE]\n\n")
        assert (await late.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == ExitCode.OK
        assert "no request is left" in "".join(server.output)
        assert server.message() == ""


@scenario
async def test_a_second_signal_does_not_shorten_the_drain(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        server.signal(signal.SIGTERM)
        await server.phase(Phase.DRAINING)
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
        await server.said("already draining")
        await server.order("finish")
        assert (await stream.text()).endswith("data: [DONE]\n\n")
        assert await server.ended() == ExitCode.OK


@scenario
async def test_a_stream_that_outlasts_the_drain_is_cut_off(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path), drain_seconds=1), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.start_stream()
        server.signal(signal.SIGTERM)
        assert await server.ended() == ExitCode.OK
        assert "1 s of draining have passed; 1 requests are cut off" in "".join(server.output)


@scenario
async def test_a_vllm_that_does_not_end_is_killed(tmp_path: Path) -> None:
    stubborn = {"FAKE_IGNORE_TERM": "1", "GPTOSS_KILL_AFTER_SECONDS": "2"}
    async with running(an_order(a_model(tmp_path), drain_seconds=0), tmp_path, **stubborn) as server:
        await server.phase(Phase.READY)
        server.signal(signal.SIGTERM)
        await server.said("Killing vLLM: vLLM did not end within 2 s")
        assert await server.ended() == ExitCode.OK


@scenario
async def test_a_stop_while_loading_ends_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with running(an_order(a_model(tmp_path)), tmp_path, FAKE_LOAD=str(gate)) as server:
        await server.phase(Phase.LOADING)
        server.signal(signal.SIGTERM)
        assert await server.ended() == ExitCode.OK
        assert server.message() == ""


@scenario
async def test_the_death_of_the_engine_is_an_error_though_vllm_exits_with_0(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        with pytest.raises(Exception, match="Server disconnected"):
            await server.order("die")
        assert await server.ended() == ExitCode.ENGINE_DIED
        assert server.message() == f"the engine died while serving (exit status 0): {ENGINE_DEATH}\n"


@scenario
async def test_a_failing_health_takes_the_replica_out_and_a_good_one_back_in(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.order("health?status=503")
        await server.phase(Phase.NOT_READY)
        assert (await server.get("/readyz"))[0] == 503
        assert (await server.get("/livez"))[0] == 200
        assert (await server.get("/startupz"))[0] == 200
        assert await server.agent() == "drain\n"
        server.output.clear()
        await server.order("health?status=200")
        await server.phase(Phase.READY)
        assert await server.agent() == "up ready 100% maxconn:4\n"


@scenario
async def test_probes_are_answered_at_once_while_vllm_is_silent(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.order("hang-health")
        # Each within the time that vLLM's own answer would be waited for.
        async with asyncio.timeout(1.5):
            assert (await server.get("/readyz"))[0] == 200
            assert (await server.get("/livez"))[0] == 200
        await server.phase(Phase.NOT_READY)
        assert (await server.get("/livez"))[0] == 200


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("engine", f"vLLM did not start (exit status 1): {NO_MEMORY}\n"),
        ("usage", f"vLLM did not start (exit status 2): {BAD_USAGE}\n"),
        (
            "kill",
            "vLLM did not start (signal SIGKILL): most likely out of memory; raise spec.pod.resources.memory\n",
        ),
    ],
)
@scenario
async def test_a_failed_start_is_told_in_words(tmp_path: Path, failure: str, message: str) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path, FAKE_FAIL=failure) as server:
        assert await server.ended() == ExitCode.START_FAILED
        assert server.message() == message


@scenario
async def test_orders_that_cannot_be_carried_out_are_told_in_words(tmp_path: Path) -> None:
    async with running(an_order("/models/absent", tensor_parallel_size=3), tmp_path) as server:
        assert await server.ended() == ExitCode.BAD_ORDERS
        assert server.message() == (
            "no directory /models/absent in the pod: mount the model there or correct spec.model.source; "
            "tensor parallel size 3 does not divide the model: set spec.tensorParallel to 1, 2, 4 or 8\n"
        )


@pytest.mark.parametrize(
    ("orders", "words"),
    [
        ("", "GPTOSS_SERVER is not set"),
        ("{", "not JSON"),
        ('{"version":2}', "version 2"),
        ('{"version":1}', "missing"),
        ('{"version":1,"model":7,"served_names":["m"],"max_num_seqs":1}', "model must be text, not 7"),
        ('{"version":1,"model":"/m","served_names":"m","max_num_seqs":1}', "served_names must be a list"),
        ('{"version":1,"model":"/m","served_names":["m"],"max_num_seqs":"1"}', "spec.engine.maxNumSeqs"),
    ],
)
@scenario
async def test_orders_that_make_no_sense_are_told_in_words(tmp_path: Path, orders: str, words: str) -> None:
    async with running(orders, tmp_path) as server:
        assert await server.ended() == ExitCode.BAD_ORDERS
        assert words in server.message()


@scenario
async def test_a_missing_program_is_told_in_words(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path, GPTOSS_VLLM_COMMAND="no-such-program serve") as server:
        assert await server.ended() == ExitCode.START_FAILED
        assert server.message().startswith("cannot start no-such-program: No such file or directory")


@scenario
async def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        async with running(an_order(a_model(tmp_path)), tmp_path, GPTOSS_HEALTH_PORT=str(port)) as server:
            assert await server.ended() == ExitCode.START_FAILED
            assert str(port) in server.message()
            assert server.message().endswith("; do not use hostNetwork\n")


@scenario
async def test_a_termination_log_that_cannot_be_written_changes_nothing_else(tmp_path: Path) -> None:
    async with running("", tmp_path, GPTOSS_TERMINATION_LOG=str(tmp_path / "absent" / "log")) as server:
        assert await server.ended() == ExitCode.BAD_ORDERS


@scenario
async def test_orphans_are_reaped(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        orphan = int(await server.order("orphan"))
        await server.said(f"Reaped orphan {orphan}")
        with pytest.raises(ProcessLookupError):
            os.kill(orphan, 0)
        assert (await server.get("/readyz"))[0] == 200
