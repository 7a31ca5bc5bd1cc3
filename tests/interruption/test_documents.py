"""How clouds' pages read. The documents are those of the clouds' own documentation."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.contract import Notice, NoticeKind
from gptoss_runtime.orders import Cloud
from gptoss_runtime.server.interruption.aws import read_action, read_rebalance
from gptoss_runtime.server.interruption.azure import question, read_events
from gptoss_runtime.server.interruption.clouds import AZURE_CHASSIS, detect_cloud, read_firmware
from gptoss_runtime.server.interruption.gcp import read_maintenance, read_preempted
from gptoss_runtime.server.interruption.question import UnreadableError, most_urgent
from gptoss_runtime.server.interruption.times import read_time


SOME_TIME = datetime(2017, 9, 18, 8, 22, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("action", ["terminate", "stop", "hibernate"])
def test_aws_takes_an_instance(action: str) -> None:
    notice = read_action(f'{{"action": "{action}", "time": "2017-09-18T08:22:00Z"}}')
    assert notice == Notice(
        kind=NoticeKind.TERMINATION,
        source="AWS spot/instance-action",
        deadline=SOME_TIME,
    )


def test_aws_finds_an_instance_at_risk() -> None:
    notice = read_rebalance('{"noticeTime": "2020-10-26T13:22:00Z"}')
    assert notice == Notice(kind=NoticeKind.REBALANCE, source="AWS events/recommendations/rebalance")


@pytest.mark.parametrize("read", [read_action, read_rebalance])
@pytest.mark.parametrize(
    "text", ["", "none", "[]", "{}", '{"action": "terminate"}', '{"time": 1, "noticeTime": null}', "<html>", "\0"]
)
def test_aws_says_what_nobody_understands(read: Callable[[str], Notice | None], text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


def test_gcp_preempts() -> None:
    assert read_preempted("FALSE") is None
    assert read_preempted("TRUE\n") == Notice(kind=NoticeKind.TERMINATION, source="GCP instance/preempted")


@pytest.mark.parametrize("text", ["NONE", "MIGRATE_ON_HOST_MAINTENANCE", "NONE\n"])
def test_gcp_moves_a_machine_without_stopping_it(text: str) -> None:
    assert read_maintenance(text) is None


def test_gcp_stops_a_machine() -> None:
    notice = read_maintenance("TERMINATE_ON_HOST_MAINTENANCE")
    assert notice == Notice(kind=NoticeKind.MAINTENANCE, source="GCP instance/maintenance-event")


@pytest.mark.parametrize("read", [read_preempted, read_maintenance])
@pytest.mark.parametrize("text", ["", "0", "<!DOCTYPE html>", "PERHAPS"])
def test_gcp_says_what_nobody_understands(read: Callable[[str], Notice | None], text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


PREEMPT = {
    "EventId": "A123BC45-1234-5678-AB90-ABCDEF123456",
    "EventStatus": "Scheduled",
    "EventType": "Preempt",
    "ResourceType": "VirtualMachine",
    "Resources": ["myspotvm"],
    "NotBefore": "Tue, 16 Mar 2021 00:58:46 GMT",
    "Description": "",
    "EventSource": "Platform",
}
FREEZE = {
    "EventId": "C7061BAC-AFDC-4513-B24B-AA5F13A16123",
    "EventStatus": "Scheduled",
    "EventType": "Freeze",
    "ResourceType": "VirtualMachine",
    "Resources": ["WestNO_0", "WestNO_1"],
    "NotBefore": "Mon, 11 Apr 2022 22:26:58 GMT",
    "Description": "Virtual machine is being paused because of a memory-preserving Live Migration operation.",
    "EventSource": "Platform",
    "DurationInSeconds": 5,
}
PREEMPTED_AT = datetime(2021, 3, 16, 0, 58, 46, tzinfo=UTC).timestamp()


def events(*all_events: object) -> str:
    return json.dumps({"DocumentIncarnation": 1, "Events": all_events})


def test_azure_announces_nothing() -> None:
    assert read_events(events(), machine="myspotvm") is None


@pytest.mark.parametrize("machine", ["myspotvm", "MySpotVM", ""])
def test_azure_evicts_a_machine(machine: str) -> None:
    notice = read_events(events(PREEMPT), machine=machine)
    assert notice == Notice(kind=NoticeKind.TERMINATION, source="Azure scheduledevents Preempt", deadline=PREEMPTED_AT)


def test_azure_tells_a_scale_set_of_all_its_machines() -> None:
    assert read_events(events(PREEMPT), machine="aks-gpu-1-vmss_3") is None


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("Terminate", NoticeKind.TERMINATION),
        ("Reboot", NoticeKind.MAINTENANCE),
        ("Redeploy", NoticeKind.MAINTENANCE),
    ],
)
def test_azure_stops_a_machine(kind: str, meaning: NoticeKind) -> None:
    notice = read_events(events({**PREEMPT, "EventType": kind}), machine="myspotvm")
    assert notice == Notice(kind=meaning, source=f"Azure scheduledevents {kind}", deadline=PREEMPTED_AT)


@pytest.mark.parametrize(
    ("seconds", "matters"), [(5, False), (0, False), (30, False), (31, True), (-1, True), (None, True), ("5", True)]
)
def test_azure_freezes_a_machine(seconds: object, *, matters: bool) -> None:
    notice = read_events(events({**FREEZE, "DurationInSeconds": seconds}), machine="WestNO_1")
    assert (notice is not None) is matters
    assert notice is None or notice.kind is NoticeKind.MAINTENANCE


@pytest.mark.parametrize("not_before", ["", None])
def test_an_event_that_has_started_is_now(not_before: str | None) -> None:
    started = {**PREEMPT, "EventStatus": "Started", "NotBefore": not_before}
    notice = read_events(events(started), machine="myspotvm")
    assert notice == Notice(kind=NoticeKind.TERMINATION, source="Azure scheduledevents Preempt")


def test_the_most_urgent_event_is_told() -> None:
    reboot = {**PREEMPT, "EventType": "Reboot", "NotBefore": "Mon, 15 Mar 2021 00:00:00 GMT"}
    later = {**PREEMPT, "NotBefore": "Wed, 17 Mar 2021 00:00:00 GMT"}
    unknown = {**PREEMPT, "EventType": "Rejuvenate", "NotBefore": "?"}
    notice = read_events(events(later, reboot, unknown, PREEMPT), machine="myspotvm")
    assert notice is not None
    assert (notice.kind, notice.deadline) == (NoticeKind.TERMINATION, PREEMPTED_AT)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Events": 3}', '{"Events": [3]}', events({**PREEMPT, "NotBefore": "soon"})]
)
def test_azure_says_what_nobody_understands(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_events(text, machine="myspotvm")


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_whatever_comes_is_a_notice_nothing_or_unreadable(text: str) -> None:
    for read in (read_action, read_rebalance, read_preempted, read_maintenance, question("vm").read):
        try:
            assert read(text) is None or isinstance(read(text), Notice)
        except UnreadableError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "2017-09-18T08:22:00Z",
        "2017-09-18T08:22:00.000Z",
        "2017-09-18T10:22:00+02:00",
        " 2017-09-18T08:22:00 ",
        "Mon, 18 Sep 2017 08:22:00 GMT",
        "Mon, 18 Sep 2017 03:22:00 -0500",
        "Mon, 18 Sep 2017 08:22:00 -0000",
    ],
)
def test_times_are_of_the_whole_world(text: str) -> None:
    assert read_time(text) == SOME_TIME


@pytest.mark.parametrize("text", ["", "soon", None, 0, "25:00", "Mon, 99 Sep 2017"])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(UnreadableError):
        read_time(text)


def test_what_surely_goes_comes_before_what_may() -> None:
    rebalance = Notice(kind=NoticeKind.REBALANCE, source="r")
    maintenance = Notice(kind=NoticeKind.MAINTENANCE, source="m", deadline=1.0)
    late = Notice(kind=NoticeKind.TERMINATION, source="t", deadline=100.0)
    soon = Notice(kind=NoticeKind.TERMINATION, source="t", deadline=50.0)
    undated = Notice(kind=NoticeKind.TERMINATION, source="t")
    order = [undated, soon, late, maintenance, rebalance]
    for rest in range(len(order)):
        assert most_urgent(reversed(order[rest:])) == order[rest]
    assert most_urgent([]) is None


@pytest.mark.parametrize(
    ("firmware", "cloud"),
    [
        ({"sys_vendor": "Amazon EC2", "product_name": "p5.48xlarge", "chassis_asset_tag": "Amazon EC2"}, Cloud.AWS),
        ({"sys_vendor": "Xen", "bios_vendor": "Amazon EC2"}, Cloud.AWS),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine", "bios_vendor": "Google"}, Cloud.GCP),
        ({"sys_vendor": "Google", "product_name": "Eve"}, Cloud.OFF),
        ({"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": AZURE_CHASSIS}, Cloud.AZURE),
        ({"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": "5829-3749-1111"}, Cloud.OFF),
        ({"sys_vendor": "Supermicro", "product_name": "SYS-821GE", "chassis_asset_tag": "None"}, Cloud.OFF),
        ({"sys_vendor": "QEMU"}, Cloud.OFF),
        ({}, Cloud.OFF),
    ],
)
def test_the_firmware_names_the_cloud(firmware: dict[str, str], cloud: Cloud) -> None:
    assert detect_cloud(firmware) is cloud


def test_the_firmware_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "sys_vendor").write_bytes(b"Amazon EC2\n")
    (tmp_path / "product_name").write_bytes(b"\xff\n")
    (tmp_path / "bios_vendor").mkdir()
    assert read_firmware(tmp_path) == {"sys_vendor": "Amazon EC2", "product_name": "\N{REPLACEMENT CHARACTER}"}
    assert read_firmware(tmp_path / "nowhere") == {}
