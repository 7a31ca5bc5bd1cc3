import asyncio

from aiohttp.test_utils import TestClient, TestServer

from gptoss_operator.shell.telemetry import Telemetry, http_application


async def answers(sick: str | None, not_ready: str | None) -> dict[str, tuple[int, str]]:
    telemetry = Telemetry()
    telemetry.watch(lambda: 3, lambda: [("Pod", 4.0), ("Pod", 9.0), ("Node", 1.0)])
    telemetry.count_request("apply", "200")
    application = http_application(telemetry, lambda: sick, lambda: not_ready)
    async with TestClient(TestServer(application)) as client:
        found = {}
        for path in ("/healthz", "/readyz", "/metrics"):
            async with client.get(path) as response:
                found[path] = (response.status, await response.text())
        return found


def test_metrics_show_which_process_works() -> None:
    telemetry = Telemetry()
    leads = [False, True]
    telemetry.show_leader(lambda: leads.pop(0))

    assert [telemetry.registry.get_sample_value("gptoss_operator_leader") for _ in range(2)] == [0.0, 1.0]


def test_probes_answer_with_what_is_wrong() -> None:
    well, ill = (asyncio.run(answers(*problems)) for problems in ((None, None), ("stuck", "not listed yet: Pod")))

    assert (well["/healthz"], well["/readyz"]) == ((200, "ok\n"), (200, "ok\n"))
    assert (ill["/healthz"], ill["/readyz"]) == ((503, "stuck\n"), (503, "not listed yet: Pod\n"))


def test_metrics_show_the_queue_and_the_longest_silence_of_each_resource() -> None:
    text = asyncio.run(answers(None, None))["/metrics"][1]

    assert "gptoss_operator_queue_depth 3.0" in text
    assert 'gptoss_operator_watch_last_event_age_seconds{resource="Pod"} 9.0' in text
    assert 'gptoss_operator_api_requests_total{code="200",verb="apply"} 1.0' in text
    assert "gptoss_operator_build_info{version=" in text
    assert "_created" not in text
