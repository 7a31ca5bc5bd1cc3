"""What happens with each request that has ended: its line is counted, joined with its tokens, and written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from gptoss_runtime.activator.records.line import Line, expects_usage
from gptoss_runtime.activator.records.record import Record, Usual, records_of
from gptoss_runtime.activator.records.state import Totals
from gptoss_runtime.activator.records.telemetry import Telemetry
from gptoss_runtime.activator.records.usage import UsageJoin
from gptoss_runtime.gateway_contract import Usage


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
    usual: Usual = field(default_factory=Usual)
    now: Callable[[], float] = time.monotonic
    totals: Totals = field(default_factory=Totals)
    _join: UsageJoin = field(default_factory=UsageJoin)
    _finished: list[Record] = field(default_factory=list)
    _news: list[News] = field(default_factory=list)

    def ended(self, lines: Sequence[Line]) -> None:
        """Take the lines of requests that have ended."""
        records = records_of(lines, self.usual)
        self.totals.count(lines, records)
        self.telemetry.observe(records)
        now = self.now()
        for line, record in zip(lines, records, strict=True):
            usage = self._join.take(record)
            if usage is not None:
                self._finish(record, usage)
            elif expects_usage(line):
                displaced = self._join.wait(record, now)
                if displaced is not None:
                    self._finished.append(displaced)
            else:
                self._finished.append(record)

    def reported(self, usage: Usage) -> None:
        """Take what a replica reports of a request."""
        record = self._join.report(usage, self.now())
        if record is not None:
            self._finish(record, usage)

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
        self._finished.extend(self._join.due(self.now()))
        self.flush()

    def finish(self) -> None:
        """Finish all requests, for good."""
        self._finished.extend(self._join.rest())
        self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        for lines in (self._news, self._finished):
            if lines and not self.write(_encode_lines(lines)):
                self.telemetry.counts.dropped_log_lines += len(lines)
        self._finished.clear()
        self._news.clear()

    def _finish(self, record: Record, usage: Usage) -> None:
        """Finish a request whose tokens are known."""
        record.tokens_in = usage.prompt_tokens
        record.tokens_out = usage.generation_tokens
        self._finished.append(record)
        self.telemetry.observe_tokens(record)
        self.totals.count_tokens(usage)
        self.count_tokens(usage.tenant, usage.prompt_tokens + usage.generation_tokens)
