"""The loop, over metadata services that speak as those of the clouds do."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.orders import Cloud
from gptoss_runtime.server.interruption import watch as watching
from gptoss_runtime.server.interruption.watch import LOST_AFTER, METADATA_URL_ENV, Pace, watch_notices
from tests.interruption.metadata_service import Clouds
from tests.runtime.harness import PATIENCE_SECONDS, scenario


QUICK = Pace(usual=0.01, rare=0.02)
NOW = 1_700_000_000.0
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
MAINTENANCE = "/computeMetadata/v1/instance/maintenance-event"
EVENTS = "/metadata/scheduledevents"
TERMINATE = '{"action": "terminate", "time": "2023-11-14T22:15:20Z"}'
TERMINATED = Notice(kind=NoticeKind.TERMINATION, source="AWS spot/instance-action", deadline=NOW + 120)
AT_RISK = Notice(kind=NoticeKind.REBALANCE, source="AWS events/recommendations/rebalance")


@dataclass
class Heard:
    """What the loop told."""

    all: list[Notice | None] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, notice: Notice | None) -> None:
        self.all.append(notice)
        self.changed.set()

    async def next(self) -> Notice | None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.changed.wait()
        self.changed.clear()
        return self.all[-1]


@asynccontextmanager
async def watched(cloud: Cloud) -> AsyncIterator[tuple[Clouds, Heard]]:
    clouds, heard = Clouds(), Heard()
    await clouds.start()
    url = f"http://127.0.0.1:{clouds.port}"
    watch = asyncio.create_task(watch_notices(cloud, heard, base_url=url, pace=QUICK, clock=lambda: NOW))
    try:
        yield clouds, heard
        assert not watch.done()
    finally:
        watch.cancel()
        await asyncio.wait([watch])
        await clouds.stop()


@scenario
async def test_aws_announces_and_withdraws() -> None:
    async with watched(Cloud.AWS) as (clouds, heard):
        await clouds.looked(ACTION)
        assert heard.all == []
        clouds.pages[REBALANCE] = '{"noticeTime": "2023-11-14T22:13:20Z"}'
        assert await heard.next() == AT_RISK
        clouds.pages[ACTION] = TERMINATE
        assert await heard.next() == TERMINATED
        del clouds.pages[ACTION]
        assert await heard.next() == AT_RISK
        del clouds.pages[REBALANCE]
        assert await heard.next() is None
        await clouds.looked(ACTION)
        assert len(heard.all) == 4
        # One token is enough for all questions.
        assert clouds.token == 1


@scenario
async def test_a_token_that_has_run_out_is_replaced_unnoticed() -> None:
    async with watched(Cloud.AWS) as (clouds, heard):
        await clouds.looked(ACTION)
        clouds.token = 100
        clouds.pages[ACTION] = TERMINATE
        assert await heard.next() == TERMINATED
        assert clouds.token == 101


@scenario
async def test_gcp_announces_and_withdraws() -> None:
    async with watched(Cloud.GCP) as (clouds, heard):
        clouds.pages.update({PREEMPTED: "FALSE", MAINTENANCE: "NONE"})
        await clouds.looked(MAINTENANCE)
        assert heard.all == []
        clouds.pages[MAINTENANCE] = "TERMINATE_ON_HOST_MAINTENANCE"
        assert await heard.next() == Notice(kind=NoticeKind.MAINTENANCE, source="GCP instance/maintenance-event")
        clouds.pages[PREEMPTED] = "TRUE"
        preempted = Notice(kind=NoticeKind.TERMINATION, source="GCP instance/preempted", deadline=NOW + 30)
        assert await heard.next() == preempted
        clouds.pages.update({PREEMPTED: "FALSE", MAINTENANCE: "NONE"})
        assert await heard.next() is None


@scenario
async def test_half_a_minute_counts_from_the_first_time_that_it_was_said() -> None:
    clouds, heard, now = Clouds(pages={PREEMPTED: "TRUE", MAINTENANCE: "NONE"}), Heard(), [NOW]
    await clouds.start()
    url = f"http://127.0.0.1:{clouds.port}"
    watch = asyncio.create_task(watch_notices(Cloud.GCP, heard, base_url=url, pace=QUICK, clock=lambda: now[0]))
    assert await heard.next() is not None
    now[0] += 10
    await clouds.looked(PREEMPTED, times=3)
    assert [notice and notice.deadline for notice in heard.all] == [NOW + 30]
    watch.cancel()
    await asyncio.wait([watch])
    await clouds.stop()


def events(kind: str, resource: str, not_before: str = "Tue, 14 Nov 2023 22:15:20 GMT") -> str:
    return (
        '{"DocumentIncarnation": 2, "Events": [{"EventId": "1", "EventStatus": "Scheduled", '
        f'"EventType": "{kind}", "ResourceType": "VirtualMachine", "Resources": ["{resource}"], '
        f'"NotBefore": "{not_before}", "DurationInSeconds": -1}}]}}'
    )


@scenario
async def test_azure_announces_and_withdraws() -> None:
    async with watched(Cloud.AZURE) as (clouds, heard):
        clouds.pages[EVENTS] = events("Preempt", "vm-2")
        await clouds.looked(EVENTS)
        # That was another machine of the same set.
        assert heard.all == []
        clouds.pages[EVENTS] = events("Preempt", "vm-1")
        preempt = Notice(kind=NoticeKind.TERMINATION, source="Azure scheduledevents Preempt", deadline=NOW + 120)
        assert await heard.next() == preempt
        # When it begins, Azure says no time any more; it is still that of before.
        clouds.pages[EVENTS] = events("Preempt", "vm-1", not_before="")
        await clouds.looked(EVENTS)
        clouds.pages[EVENTS] = '{"DocumentIncarnation": 3, "Events": []}'
        assert await heard.next() is None
        assert len(heard.all) == 2
        # The machine's name is asked for once.
        assert clouds.asked.count("/metadata/instance/compute/name") == 1


@scenario
async def test_what_cannot_be_read_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    async with watched(Cloud.AWS) as (clouds, heard):
        clouds.pages[ACTION] = TERMINATE
        assert await heard.next() == TERMINATED
        for page in ("<html>", 500, 302, "x" * 300_000):
            clouds.pages[ACTION] = page
            await clouds.looked(ACTION)
        # It neither withdraws what was said nor is it told again and again.
        assert heard.all == [TERMINATED]
        assert caplog.text.count("taken for no news") == 1
        clouds.pages[ACTION] = 404
        assert await heard.next() is None
        clouds.pages[ACTION] = "{}"
        await clouds.looked(ACTION)
        assert caplog.text.count("taken for no news") == 2


@scenario
async def test_a_service_that_goes_away_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with watched(Cloud.AWS) as (clouds, heard):
        clouds.pages[ACTION] = TERMINATE
        assert await heard.next() == TERMINATED
        await clouds.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "does not answer" not in caplog.text:  # noqa: ASYNC110 - the log has no event
                await asyncio.sleep(0.01)
        assert "hop limit" in caplog.text
        # What it said last holds.
        assert heard.all == [TERMINATED]
        del clouds.pages[ACTION]
        await clouds.start()
        assert await heard.next() is None
        assert "AWS answers again" in caplog.text
        assert caplog.text.count("does not answer") == 1


@scenario
async def test_a_pod_that_cannot_reach_the_service_asks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    rare = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > LOST_AFTER:
            rare.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Pace(usual=1, rare=2)
    # Nobody listens on port 1.
    watch = asyncio.create_task(watch_notices(Cloud.GCP, Heard(), base_url="http://127.0.0.1:1", pace=pace))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rare.wait()
    assert slept == [1] * (LOST_AFTER - 1) + [2] * 2
    watch.cancel()
    await asyncio.wait([watch])


@scenario
async def test_a_service_that_answers_slowly_is_heard() -> None:
    async with watched(Cloud.AWS) as (clouds, heard):
        clouds.slowness = 1.5
        clouds.pages[ACTION] = TERMINATE
        assert await heard.next() == TERMINATED


@scenario
async def test_a_service_that_says_nothing_is_not_waited_for_long() -> None:
    stop, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        await stop.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    heard = Heard()
    watch = asyncio.create_task(watch_notices(Cloud.GCP, heard, base_url=url, pace=QUICK))
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Two pages make one look.
        for _ in range(3):
            await asked.acquire()
    assert not watch.done()
    assert heard.all == []
    watch.cancel()
    await asyncio.wait([watch])
    stop.set()
    server.close()


@pytest.mark.parametrize(("cloud", "firmware"), [(Cloud.OFF, "Amazon EC2"), (Cloud.AUTO, "QEMU")])
@scenario
async def test_without_a_cloud_nobody_is_asked(cloud: Cloud, firmware: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "read_firmware", lambda: {"sys_vendor": firmware})
        clouds, heard = Clouds(), Heard()
        await clouds.start()
        watch = asyncio.create_task(watch_notices(cloud, heard, base_url=f"http://127.0.0.1:{clouds.port}", pace=QUICK))
        done, _ = await asyncio.wait([watch], timeout=0.2)
    assert not done
    assert clouds.asked == []
    watch.cancel()
    await asyncio.wait([watch])
    await clouds.stop()


@scenario
async def test_the_firmware_says_whom_to_ask_and_the_environment_where() -> None:
    clouds, heard = Clouds(pages={ACTION: TERMINATE}), Heard()
    await clouds.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "read_firmware", lambda: {"sys_vendor": "Amazon EC2"})
        patch.setenv(METADATA_URL_ENV, f"http://127.0.0.1:{clouds.port}/")
        # A proxy is none of the machine.
        patch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        watch = asyncio.create_task(watch_notices(Cloud.AUTO, heard, pace=QUICK))
        assert await heard.next() == TERMINATED
    watch.cancel()
    await asyncio.wait([watch])
    await clouds.stop()
