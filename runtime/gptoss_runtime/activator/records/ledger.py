"""What happens with each request that has ended: its line is joined with its tokens, counted and written."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from gptoss_runtime.activator.records.record import Ended, Line, Record, ended_of, expects_usage, record_of
from gptoss_runtime.activator.records.state import Totals
from gptoss_runtime.activator.records.telemetry import Telemetry
from gptoss_runtime.activator.records.usage import UsageJoin
from gptoss_runtime.gateway_contract import Usage


log = logging.getLogger("gptoss_runtime.activator")

_encode_lines = msgspec.json.Encoder().encode_lines
_UP = " is UP"
_OUR_SERVER = "replicas/activator"


class News(msgspec.Struct):
    """A line of HAProxy's own news."""

    time: str
    event: str


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Takes the log's lines and the replicas' reports."""

    telemetry: Telemetry
    write: Callable[[bytes], bool]
    """Writes lines. Returns False when they were dropped."""
    replica_came_up: Callable[[], None]
    """Is called when HAProxy says that a replica is ready."""
    count_tokens: Callable[[str, int], None]
    """Is called with a tenant and the tokens of one of his requests."""
    now: Callable[[], float] = time.monotonic
    totals: Totals = field(default_factory=Totals)
    _join: UsageJoin = field(default_factory=UsageJoin)
    _records: list[Record] = field(default_factory=list)
    _news: list[News] = field(default_factory=list)

    def ended(self, line: Line) -> None:
        """Take the line of a request that has ended."""
        ended = ended_of(line)
        self.totals.count(line, ended)
        usage = self._join.take(line)
        if usage is None and expects_usage(line):
            displaced = self._join.wait(line, self.now())
            if displaced is not None:
                self._finish(displaced, ended_of(displaced), None)
            return
        self._finish(line, ended, usage)

    def reported(self, usage: Usage) -> None:
        """Take what a replica reports of a request."""
        line = self._join.report(usage, self.now())
        if line is not None:
            self._finish(line, ended_of(line), usage)

    def news(self, text: str) -> None:
        """Take what HAProxy says about itself and its servers."""
        moment = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        self._news.append(News(f"{moment}Z", text))
        if _UP in text and _OUR_SERVER not in text:
            self.replica_came_up()

    def unreadable(self) -> None:
        """Count a line that says nothing."""
        self.telemetry.counts.bad_log_lines += 1

    def settle(self) -> None:
        """Finish the requests whose report did not come in time."""
        for line in self._join.due(self.now()):
            self._finish(line, ended_of(line), None)
        self.flush()

    def finish(self) -> None:
        """Finish all requests, for good."""
        for line in self._join.rest():
            self._finish(line, ended_of(line), None)
        self.flush()

    def flush(self) -> None:
        """Write and count what has been collected."""
        for lines in (self._news, self._records):
            if lines and not self.write(_encode_lines(lines)):
                self.telemetry.counts.dropped_log_lines += len(lines)
        self.telemetry.observe(self._records)
        self._records.clear()
        self._news.clear()

    def _finish(self, line: Line, ended: Ended, usage: Usage | None) -> None:
        self._records.append(record_of(line, ended, usage))
        if usage is not None:
            self.totals.count_tokens(usage)
            self.count_tokens(usage.tenant, usage.prompt_tokens + usage.generation_tokens)
