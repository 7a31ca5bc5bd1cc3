"""Lines of the log and what replicas report of the same requests find each other here. Time is given in."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gptoss_runtime.activator.records.record import Line
from gptoss_runtime.gateway_contract import Usage


KEPT_SECONDS = 10.0
"""How long a report waits for its line. It comes when the answer ends, and so does the line."""
WAIT_SECONDS = 1.0
"""How long a line waits for its report, which may be late by one trip through the network."""
MOST = 20_000
"""Reports, and lines, that wait at once; the oldest go first."""


@dataclass(slots=True)
class UsageJoin:
    """Reports and lines that wait for their other half."""

    _reports: dict[str, tuple[Usage, float]] = field(default_factory=dict)
    _lines: dict[str, tuple[Line, float]] = field(default_factory=dict)

    def report(self, usage: Usage, now: float) -> Line | None:
        """Keep a report, or return the line that waited for it."""
        waiting = self._lines.get(usage.id)
        if waiting and waiting[0].tenant == usage.tenant:
            del self._lines[usage.id]
            return waiting[0]
        # The last report of a request counts: one that was tried again is reported by both replicas.
        self._reports.pop(usage.id, None)
        self._reports[usage.id] = (usage, now + KEPT_SECONDS)
        if len(self._reports) > MOST:
            del self._reports[next(iter(self._reports))]
        return None

    def take(self, line: Line) -> Usage | None:
        """Return the report of this line's request, if it is there and speaks of the same tenant."""
        found = self._reports.pop(line.id, None) if self._reports else None
        return found[0] if found and found[0].tenant == line.tenant else None

    def wait(self, line: Line, now: float) -> Line | None:
        """Let a line wait for its report. Returns the line that has to go in its place, if too many wait."""
        self._lines[line.id] = (line, now + WAIT_SECONDS)
        return self._lines.pop(next(iter(self._lines)))[0] if len(self._lines) > MOST else None

    def due(self, now: float) -> Iterator[Line]:
        """Yield the lines that waited long enough, and forget reports that did."""
        # Both are in the order of their time.
        while self._reports and next(iter(self._reports.values()))[1] <= now:
            del self._reports[next(iter(self._reports))]
        while self._lines and next(iter(self._lines.values()))[1] <= now:
            yield self._lines.pop(next(iter(self._lines)))[0]

    def waiting(self) -> int:
        """Return how many lines wait."""
        return len(self._lines)

    def rest(self) -> Iterator[Line]:
        """Yield all lines that still wait, for good."""
        while self._lines:
            yield self._lines.pop(next(iter(self._lines)))[0]
