"""From HAProxy's ring to lines on the standard output: pieces, joins, bounds."""

import asyncio
import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.records.ledger import Ledger
from gptoss_runtime.activator.records.line import Line
from gptoss_runtime.activator.records.log import LogReader, reading_log
from gptoss_runtime.activator.records.output import MOST_BYTES, Output
from gptoss_runtime.activator.records.record import Record, Usual, records_of
from gptoss_runtime.activator.records.telemetry import Telemetry
from gptoss_runtime.activator.records.usage import KEPT_SECONDS, MOST_RECORDS, MOST_REPORTS, WAIT_SECONDS, UsageJoin
from gptoss_runtime.gateway_contract import Usage
from tests.activator.lines import a_line, a_refusal, text
from tests.runtime.harness import PATIENCE_SECONDS, scenario


@dataclass
class Heard:
    """Who listens, and what he heard."""

    lines: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    bad: int = 0
    flushed: asyncio.Event = field(default_factory=asyncio.Event)

    def ended(self, lines: Sequence[Line]) -> None:
        self.lines.extend(line.path for line in lines)

    def news(self, text: str) -> None:
        self.said.append(text)

    def unreadable(self) -> None:
        self.bad += 1

    def flush(self) -> None:
        self.flushed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.lines) + len(self.said) < count:
                self.flushed.clear()
                await self.flushed.wait()


@given(st.lists(st.integers(min_value=1, max_value=400), max_size=40))
def test_lines_may_be_cut_anywhere(cuts: list[int]) -> None:
    whole = b"\n".join((text(path="/1"), b"Server replicas/replica1 is UP, reason: x", text(path="/2"), b""))
    heard = Heard()
    reader = LogReader(heard)
    for cut in cuts:
        reader.feed(whole[:cut])
        whole = whole[cut:]
    reader.feed(whole)
    assert (heard.lines, heard.said, heard.bad) == (
        ["/1", "/2"],
        ["Server replicas/replica1 is UP, reason: x"],
        0,
    )


@given(st.binary(max_size=300))
def test_nothing_that_comes_breaks_the_reader(noise: bytes) -> None:
    heard = Heard()
    LogReader(heard).feed(noise + b"\n{" + noise + b"\n" + text(path="/good") + b"\n")
    assert heard.lines[-1] == "/good"


def test_text_that_is_not_utf8_is_mended_and_what_is_no_line_is_counted() -> None:
    heard = Heard()
    reader = LogReader(heard)
    reader.feed(text(path="/caf?").replace(b"?", b"\xe9") + b'\n{"half":\n{}\n' + b"x" * 70_000)
    reader.feed(b"y\n" + text(path="/next") + b"\n")
    assert (heard.lines, heard.bad) == (["/caf\N{REPLACEMENT CHARACTER}", "/next"], 3)


@scenario
async def test_haproxy_may_come_back(tmp_path: Path) -> None:
    heard = Heard()
    async with reading_log(tmp_path / "log.sock", heard):
        for number in (1, 2):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "log.sock")
            writer.write(text(path=f"/{number}") + b"\n")
            await heard.until(number)
            writer.close()
            await writer.wait_closed()
            assert await reader.read() == b""
    assert heard.lines == ["/1", "/2"]


@scenario
async def test_the_last_lines_are_read_at_the_end(tmp_path: Path) -> None:
    heard = Heard()
    with socket.socket(socket.AF_UNIX) as haproxy:
        async with reading_log(tmp_path / "log.sock", heard):
            haproxy.connect(str(tmp_path / "log.sock"))
            haproxy.send(text(path="/1") + b"\n")
            await heard.until(1)
            haproxy.send(text(path="/2") + b"\n")
    assert heard.lines == ["/1", "/2"]


class Written:
    """A ledger at a time that we set, and what it wrote."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.records: list[dict[str, object]] = []
        self.came_up = 0
        self.tokens: list[tuple[str, int]] = []
        self.telemetry = Telemetry()
        self.ledger = Ledger(
            telemetry=self.telemetry,
            write=self._write,
            replica_came_up=self._up,
            count_tokens=lambda tenant, tokens: self.tokens.append((tenant, tokens)),
            now=lambda: self.clock,
        )

    def _write(self, lines: bytes) -> bool:
        self.records.extend(json.loads(line) for line in lines.splitlines())
        return True

    def _up(self) -> None:
        self.came_up += 1

    def out(self) -> list[tuple[object, object]]:
        """Return id and answer's tokens of what was written by now."""
        self.ledger.settle()
        return [(record["id"], record["tokens_out"]) for record in self.records]


def a_record(name: str) -> Record:
    return records_of([a_line(id=name)], Usual())[0]


def usage(name: str, tenant: str = "team-a") -> Usage:
    return Usage(id=name, tenant=tenant, prompt_tokens=3, generation_tokens=4)


def test_tokens_before_or_after_the_line() -> None:
    written = Written()
    written.ledger.reported(usage("a"))
    written.ledger.ended([a_line(id="a")])
    written.ledger.ended([a_line(id="b")])
    assert written.out() == [("a", 4)]
    written.ledger.reported(usage("b"))
    assert written.out() == [("a", 4), ("b", 4)]
    assert written.tokens == [("team-a", 7), ("team-a", 7)]


def test_a_line_waits_one_second_for_its_tokens_and_no_longer() -> None:
    written = Written()
    written.ledger.ended([a_line(id="a")])
    written.clock = WAIT_SECONDS - 0.01
    assert written.out() == []
    written.clock = WAIT_SECONDS
    assert written.out() == [("a", None)]
    written.ledger.reported(usage("a"))
    assert written.out() == [("a", None)]
    assert written.tokens == []


def test_a_refusal_does_not_wait_and_the_end_waits_for_nobody() -> None:
    written = Written()
    written.ledger.ended([a_refusal(id="a")])
    written.ledger.ended([a_line(id="b")])
    assert written.out() == [("a", None)]
    written.ledger.finish()
    assert written.out() == [("a", None), ("b", None)]


def test_tokens_of_another_tenant_are_not_believed() -> None:
    written = Written()
    written.ledger.reported(usage("a", tenant="team-b"))
    written.ledger.ended([a_line(id="a")])
    written.ledger.reported(usage("a", tenant="team-b"))
    written.clock = WAIT_SECONDS
    assert written.out() == [("a", None)]
    assert written.tokens == []


def test_what_waits_is_bounded() -> None:
    join = UsageJoin()
    for number in range(MOST_REPORTS + 10):
        join.report(usage(f"r{number}"), 0.0)
    displaced = [join.wait(a_record(f"l{number}"), 0.0) for number in range(MOST_RECORDS + 10)]
    assert [record.id for record in displaced if record] == [f"l{number}" for number in range(10)]
    assert join.take(a_record("r9")) is None
    assert join.take(a_record("r10")) == usage("r10")
    assert len(list(join.due(KEPT_SECONDS))) == MOST_RECORDS
    assert join.take(a_record("r11")) is None


def test_news_are_written_and_wake_the_hold() -> None:
    written = Written()
    written.ledger.news("Server replicas/replica1 is DOWN, reason: Layer4 connection problem")
    written.ledger.news("Backup Server replicas/activator is UP, reason: x")
    assert written.came_up == 0
    written.ledger.news("Server replicas/replica1 is UP, reason: Layer7 check passed")
    written.ledger.flush()
    assert written.came_up == 1
    assert written.records[2]["event"] == "Server replicas/replica1 is UP, reason: Layer7 check passed"
    assert all(str(record["time"])[-1] == "Z" for record in written.records)


@scenario
async def test_a_reader_that_is_slow_gets_whole_lines_later_and_one_that_never_reads_loses_some() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    line = b"x" * 99_999 + b"\n"
    sent = 0
    while output.write(line):
        sent += 1
    assert sent * len(line) <= MOST_BYTES + 2**20
    got = bytearray()
    loop = asyncio.get_running_loop()
    while len(got) < sent * len(line):
        got += await loop.run_in_executor(None, os.read, reading, 2**20)
    assert bytes(got) == line * sent
    assert output.write(b"again\n")
    assert os.read(reading, 100) == b"again\n"
    output.close()
    assert os.get_blocking(writing)
    os.close(reading)
    os.close(writing)


@scenario
async def test_output_that_nobody_will_ever_read_stops_nothing() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    output = Output(ours.fileno())
    assert output.write(b"lost\n")
    assert output.write(b"lost too\n")
    output.close()
    ours.close()
