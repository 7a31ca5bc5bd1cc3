"""gptoss-server over a fake vLLM whose engine hangs, lies, or is in front of a front that hangs."""

import asyncio
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gptoss_runtime.contract import Check, CheckResult, ExitCode, Phase
from gptoss_runtime.orders import ServerOrders, WeightsOrder
from tests.runtime.fake_engine import CACHE_TOKENS
from tests.runtime.harness import PATIENCE_SECONDS, ROOT, Server, a_model, an_order, running, scenario


def impatient(model: str, **changes: object) -> ServerOrders:
    short = {"stall_seconds": 1, "restart_seconds": 60, "probe_seconds": 1}
    return an_order(model, **{**short, **changes})


async def front_pid(server: Server) -> int:
    return int(await server.order("pid"))


async def found_out(server: Server, reason: str) -> None:
    """Wait until the replica takes no requests for this reason."""
    await server.said(f"{Phase.NOT_READY}: {reason}")
    assert await server.get("/readyz") == (503, f"{reason}\n")
    assert (await server.get("/livez"))[0] == 200
    assert await server.agent() == "drain\n"


@scenario
async def test_an_engine_that_hangs_under_load_is_taken_out_and_comes_back_when_it_moves(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        stream = await server.start_stream()
        await steps(server)
        begun = time.monotonic()
        await server.order("freeze")
        await found_out(server, "its engine makes no progress: no step for more than 1 s while it has requests")
        assert time.monotonic() - begun < 1 + 5
        assert (await server.state()).gauges["stalled_seconds"] >= 1
        server.output.clear()
        await server.order("thaw")
        await server.phase(Phase.READY)
        await server.order("finish")
        assert (await stream.text()).endswith("data: [DONE]\n\n")


async def steps(server: Server) -> None:
    """Wait until the server has seen the engine work."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await server.state()).gauges.get("requests_running") != 1:  # noqa: ASYNC110 - as the operator asks
            await asyncio.sleep(0.05)


@scenario
async def test_an_engine_that_hangs_for_long_is_started_again(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path), restart_seconds=2), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.start_stream()
        await steps(server)
        await server.order("freeze")
        assert await server.ended() == ExitCode.ENGINE_DIED
        assert server.message() == (
            "the engine died while serving (ended by the server): no engine step for 2 s with 1 requests\n"
        )


@scenario
async def test_an_idle_engine_that_hangs_is_found_by_a_probe(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        begun = time.monotonic()
        await server.order("freeze")
        await found_out(server, "its engine does not answer a probe while it is idle")
        assert time.monotonic() - begun < 1 + 12 + 5
        state = await server.state()
        assert state.checks[Check.INFERENCE_WORKING].ok is False
        server.output.clear()
        await server.order("thaw")
        await server.phase(Phase.READY)


@scenario
async def test_probes_go_on_while_idle_and_are_no_clients_requests(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        first = (await server.state()).counters["engine_steps"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await server.state()).counters.get("engine_steps", 0) < first + 2:
                assert (await server.state()).gauges["requests_in_flight"] == 0
                await asyncio.sleep(0.05)
        families = await metrics(server)
        assert families["gptoss_server_probe_seconds"] > 0
        assert families["gptoss_server_probe_age_seconds"] < PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("token", "token 1 of the probe's answer is not the one of the start"),
        ("drift", "the probability of token 1 of the probe's answer has moved"),
        ("nan", "the probabilities in the answer to the probe are no numbers"),
        (
            "error",
            "vLLM answered a request of the server's own with 500: Out of range float values are not JSON compliant",
        ),
    ],
)
@scenario
async def test_an_engine_that_computes_wrongly_is_taken_out(tmp_path: Path, lie: str, reason: str) -> None:
    async with running(impatient(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.order(f"lie?how={lie}")
        await found_out(server, f"its answers are wrong: {reason}")
        status, text = await server.get("/healthz/deep")
        assert status == 503
        assert json.loads(text)["checks"][Check.PARAMETERS_ACCESSIBLE] == {"ok": False, "detail": reason}
        server.output.clear()
        await server.order("lie?how=")
        await server.phase(Phase.READY)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("chat", "the answer to a chat has neither reasoning nor content"),
        ("nan", "the probabilities in the answer to the probe are no numbers"),
    ],
)
@scenario
async def test_a_replica_is_not_ready_before_its_first_answers_are_good(tmp_path: Path, lie: str, reason: str) -> None:
    async with running(impatient(a_model(tmp_path)), tmp_path, FAKE_LIE=lie) as server:
        await server.said(f"{Phase.WARMING}: {reason}")
        assert await server.get("/startupz") == (503, f"{reason}\n")
        assert (await server.get("/readyz"))[0] == 503
        await server.order("lie?how=")
        await server.phase(Phase.READY)


@scenario
async def test_a_full_queue_is_a_sign_of_life(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path), stall_seconds=20), tmp_path) as server:
        await server.phase(Phase.READY)
        await server.order("lie?how=busy")
        await server.said("A probe of the engine")
        assert (await server.get("/readyz"))[0] == 200


@scenario
async def test_a_front_that_does_nothing_for_long_is_started_again(tmp_path: Path) -> None:
    async with running(impatient(a_model(tmp_path), restart_seconds=6), tmp_path) as server:
        await server.phase(Phase.READY)
        os.kill(await front_pid(server), signal.SIGSTOP)
        await server.said("vLLM does not answer health questions in time")
        assert await server.ended() == ExitCode.ENGINE_DIED
        assert "no answer to health questions for 6 s and no CPU time used" in server.message()


@scenario
async def test_the_deep_report_and_the_start_are_told_everywhere(tmp_path: Path) -> None:
    async with running(an_order(a_model(tmp_path)), tmp_path) as server:
        await server.phase(Phase.READY)
        status, text = await server.get("/healthz/deep")
        report = json.loads(text)
        assert status == 200
        assert report["phase"] == Phase.READY
        assert report["verdict"] == {"ready": True, "live": True, "reason": "vLLM is up"}
        asked = set(Check) - {Check.GOLDEN_PROMPTS}
        assert {name: check["ok"] for name, check in report["checks"].items()} == dict.fromkeys(asked, True)

        state = await server.state()
        assert state.checks == {name: CheckResult(**check) for name, check in report["checks"].items()}
        assert list(state.startup) == [Phase.STARTING, Phase.LOADING, Phase.COMPILING, Phase.WARMING]
        assert sum(state.startup.values()) == pytest.approx(state.gauges["load_seconds"], abs=0.1)
        assert state.gauges["kv_tokens"] == CACHE_TOKENS
        assert state.gauges["stalled_seconds"] == 0
        assert "engine_steps" in state.counters

        families = await metrics(server)
        assert families["gptoss_server_check"] == 1
        assert families["gptoss_server_kv_tokens"] == CACHE_TOKENS
        assert families["gptoss_server_stalled_seconds"] == 0
        assert "gptoss_server_start_phase_seconds" in families


async def metrics(server: Server) -> dict[str, float]:
    """Return the first sample of each family."""
    _, text = await server.get("/metrics")
    return {family.name: family.samples[0].value for family in text_string_to_metric_families(text) if family.samples}


@scenario
async def test_requests_that_outlast_the_drain_are_told_so(tmp_path: Path) -> None:
    stubborn = {"FAKE_IGNORE_TERM": "1"}
    async with running(an_order(a_model(tmp_path), drain_seconds=1), tmp_path, **stubborn) as server:
        await server.phase(Phase.READY)
        streams = [await server.start_stream() for _ in range(3)]
        server.signal(signal.SIGTERM)
        for stream in streams:
            assert "replica_leaving" in await stream.text()
        cut = time.monotonic()
        assert await server.ended() == ExitCode.OK
        assert time.monotonic() - cut < 5
        assert '"streams":3' in "".join(server.output)


def a_fetch(program: str) -> str:
    """Return a command in place of the one that fetches weights."""
    return shlex.join([sys.executable, "-c", program])


def fetched(model: str) -> ServerOrders:
    return an_order(model, weights=WeightsOrder(source="hf://openai/gpt-oss-20b", directory=model))


FETCHED = "import os; open(os.environ['DONE'], 'w').write(os.environ['GPTOSS_WEIGHTS'])"


@scenario
async def test_weights_are_fetched_before_vllm_starts(tmp_path: Path) -> None:
    gate, done = tmp_path / "gate", tmp_path / "done"
    os.mkfifo(gate)
    program = f"open({str(gate)!r}).read(); {FETCHED}"
    orders = fetched(a_model(tmp_path))
    async with running(orders, tmp_path, GPTOSS_FETCH_COMMAND=a_fetch(program), DONE=str(done)) as server:
        await server.phase(Phase.FETCHING)
        assert await server.get("/startupz") == (503, "the weights are being fetched\n")
        assert not done.exists()
        await asyncio.to_thread(gate.write_text, "go")
        await server.phase(Phase.READY)
        assert WeightsOrder.decode(done.read_text()) == orders.weights
        assert list((await server.state()).startup)[:3] == [Phase.STARTING, Phase.FETCHING, Phase.LOADING]


@scenario
async def test_weights_that_cannot_be_fetched_end_the_start_in_words(tmp_path: Path) -> None:
    program = "import sys; print('progress'); print('no space left; give the volume 20 GiB', file=sys.stderr); exit(1)"
    orders = fetched(a_model(tmp_path))
    async with running(orders, tmp_path, GPTOSS_FETCH_COMMAND=a_fetch(program)) as server:
        assert await server.ended() == ExitCode.START_FAILED
        assert server.message() == (
            "the weights were not fetched (exit status 1): no space left; give the volume 20 GiB\n"
        )


@scenario
async def test_a_stop_while_weights_are_fetched_ends_at_once(tmp_path: Path) -> None:
    orders = fetched(a_model(tmp_path))
    sleeper = a_fetch("import time; time.sleep(600)")
    async with running(orders, tmp_path, GPTOSS_FETCH_COMMAND=sleeper) as server:
        await server.phase(Phase.FETCHING)
        server.signal(signal.SIGTERM)
        assert await server.ended() == ExitCode.OK
        assert server.message() == ""


@scenario
async def test_a_model_that_is_still_missing_after_the_fetch_is_told_in_words(tmp_path: Path) -> None:
    orders = fetched(str(tmp_path / "absent"))
    async with running(orders, tmp_path, GPTOSS_FETCH_COMMAND=a_fetch("")) as server:
        assert await server.ended() == ExitCode.BAD_ORDERS
        assert "absent in the pod" in server.message()


@scenario
async def test_a_stop_after_a_failure_does_not_hide_it(tmp_path: Path) -> None:
    # A grandchild in a group of its own holds the pipes, so that the last lines are waited for.
    fails = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], process_group=0)
sys.exit("ValueError: no such weights")
"""
    vllm = shlex.join([sys.executable, "-c", fails])
    async with running(an_order(a_model(tmp_path)), tmp_path, GPTOSS_VLLM_COMMAND=vllm) as server:
        await server.phase(Phase.STOPPED)
        server.signal(signal.SIGTERM)
        await server.said("Asked to stop")
        assert await server.ended() == ExitCode.START_FAILED
        assert server.message() == "vLLM did not start (exit status 1): ValueError: no such weights\n"


SLOW_DRIVER = """\
import os
class NVMLError(Exception): ...
def nvmlInit():
    open(os.environ["DRIVER"]).read()
    raise NVMLError("no GPU")
"""


@scenario
async def test_probes_are_answered_while_a_driver_is_slow(tmp_path: Path) -> None:
    (tmp_path / "pynvml.py").write_text(SLOW_DRIVER)
    driver = tmp_path / "driver"
    os.mkfifo(driver)
    orders = an_order(a_model(tmp_path), compile_cache=str(tmp_path / "cache"))
    slow = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DRIVER": str(driver)}
    async with running(orders, tmp_path, **slow) as server:
        # Opened as soon as the server reads it.
        gate = await asyncio.to_thread(driver.open, "w")
        async with asyncio.timeout(10):
            assert await server.get("/startupz") == (503, "the server is starting vLLM\n")
        gate.close()
        await server.phase(Phase.READY)
