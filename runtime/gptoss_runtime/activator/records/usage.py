"""Records and what replicas report of the same requests find each other here. Time is given in."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from gptoss_runtime.activator.records.record import Record
from gptoss_runtime.gateway_contract import Usage


KEPT_SECONDS = 10.0
"""How long a report waits for its record. It comes when the answer ends, and so does HAProxy's line."""
WAIT_SECONDS = 1.0
"""How long a record waits for its report, which may be late by one trip through the network."""
MOST_REPORTS = 20_000
"""Reports that wait at once; the oldest go first."""
MOST_RECORDS = 8192
"""The same for records, which are larger: 6 MB."""


@dataclass(slots=True)
class UsageJoin:
    """Reports and records that wait for their other half, each with when it has waited long enough."""

    # Ordered ones, since the first of a plain dict is found the more slowly, the more were taken away before it.
    _reports: OrderedDict[str, tuple[Usage, float]] = field(default_factory=OrderedDict)
    _records: OrderedDict[str, tuple[Record, float]] = field(default_factory=OrderedDict)

    def report(self, usage: Usage, now: float) -> Record | None:
        """Keep a report, or return the record that waited for it."""
        waiting = self._records.get(usage.id)
        if waiting and waiting[0].tenant == usage.tenant:
            del self._records[usage.id]
            return waiting[0]
        # The last report of a request counts: one that was tried again is reported by both replicas.
        self._reports.pop(usage.id, None)
        self._reports[usage.id] = (usage, now + KEPT_SECONDS)
        if len(self._reports) > MOST_REPORTS:
            self._reports.popitem(last=False)
        return None

    def take(self, record: Record) -> Usage | None:
        """Return the report of this record's request, if it is there and speaks of the same tenant."""
        found = self._reports.pop(record.id, None)
        return found[0] if found and found[0].tenant == record.tenant else None

    def wait(self, record: Record, now: float) -> Record | None:
        """Let a record wait for its report. Returns the one that has to go in its place, if too many wait."""
        self._records[record.id] = (record, now + WAIT_SECONDS)
        return self._records.popitem(last=False)[1][0] if len(self._records) > MOST_RECORDS else None

    def due(self, now: float) -> Iterator[Record]:
        """Yield the records that waited long enough, and forget reports that did."""
        # Both are in the order of their time.
        while self._reports and next(iter(self._reports.values()))[1] <= now:
            self._reports.popitem(last=False)
        while self._records and next(iter(self._records.values()))[1] <= now:
            yield self._records.popitem(last=False)[1][0]

    def rest(self) -> Iterator[Record]:
        """Yield all records that still wait, for good."""
        while self._records:
            yield self._records.popitem(last=False)[1][0]
