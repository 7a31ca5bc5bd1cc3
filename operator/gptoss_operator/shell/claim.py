"""Who may work: what a Lease says, and whether to claim it.

A Lease is a promise with an end: who holds it works, and says so again before the end. Clocks of two machines are never
compared. A candidate measures, on its own clock, for how long it has seen no renewal; the holder measures, on its own,
since when its last renewal was on its way, which is earlier.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from gptoss_operator.core.observation import Manifest
from gptoss_operator.shell.resources import LEASE


DURATION_SECONDS: Final = 15
"""How long a Lease holds that is not renewed."""
MARGIN_SECONDS: Final = 2
"""The holder stops this much earlier: its clock may run slower than another's, and what it has begun has to end."""
HOLD_SECONDS: Final = DURATION_SECONDS - MARGIN_SECONDS
"""How long the holder may write after it sent a renewal that was granted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A Lease."""

    holder: str
    """Identity of the process that works. Empty: none."""
    duration_seconds: float
    """How long the holder may be silent, in its own words."""
    renewal: str
    """Another text after each renewal. Never read as a time."""
    version: str | None
    """What an update has to name. None: the Lease has been deleted since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A Lease, and since when it has looked like that."""

    record: Record
    since: float
    """When its last renewal, or that it is gone, was seen first; in seconds on the candidate's own clock."""


class Step(StrEnum):
    """What to do about a Lease."""

    CREATE = "create"
    UPDATE = "update"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Whether to claim a Lease, and why."""

    step: Step
    reason: str


def look(before: Sight | None, record: Record | None, now: float) -> Sight | None:
    """Return what is known of a Lease after it was read. `record` is None where there is none.

    `now` is when the answer came, on the reader's clock. A Lease that was deleted binds for a duration from when that
    was seen: its holder may have renewed it just before, and not have noticed.
    """
    if record is None:
        if before is None or before.record.version is None:
            return before
        return Sight(record=replace(before.record, version=None), since=now)
    if before is not None and (before.record.holder, before.record.renewal) == (record.holder, record.renewal):
        return replace(before, record=record)
    return Sight(record=record, since=now)


def next_claim(sight: Sight | None, me: str, now: float) -> Claim:
    """Return what the process `me` should do about a Lease. `now` is on the clock of `sight`.

    An update has to name the version that was seen: of two that claim at once the API server lets one through.
    """
    if sight is None:
        return Claim(step=Step.CREATE, reason="nobody has had it yet")
    record = sight.record
    step = Step.CREATE if record.version is None else Step.UPDATE
    if record.holder == me:
        return Claim(step=step, reason="it is ours")
    if not record.holder:
        return Claim(step=step, reason="it was released")
    if now - sight.since >= record.duration_seconds:
        return Claim(step=step, reason=f"{record.holder} has not renewed it for {record.duration_seconds:g} s")
    return Claim(step=Step.WAIT, reason=f"{record.holder} holds it")


def record_of(lease: Mapping[str, Any]) -> Record:
    """Return what matters of a Lease as the API server has it."""
    spec = lease.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or DURATION_SECONDS,
        renewal=json.dumps([spec.get(name) for name in ("renewTime", "acquireTime", "leaseTransitions")]),
        version=lease["metadata"]["resourceVersion"],
    )


def claimed(found: Manifest | None, namespace: str, name: str, me: str, now: datetime) -> Manifest:
    """Return the Lease as it is when `me` holds it from `now` on. `found` is the Lease before, None to create it.

    `now` has a time zone; it is for people, and makes one renewal differ from the other.
    """
    lease: Manifest = deepcopy(found) if found else _new(namespace, name)
    spec = lease["spec"] = lease.get("spec") or {}
    moment = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if spec.get("holderIdentity") != me:
        spec["acquireTime"] = moment
        spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + 1
    spec |= {"holderIdentity": me, "leaseDurationSeconds": DURATION_SECONDS, "renewTime": moment}
    return lease


def released(found: Manifest) -> Manifest:
    """Return a Lease as it is when its holder has given it up."""
    lease = deepcopy(found)
    lease["spec"]["holderIdentity"] = ""
    return lease


def _new(namespace: str, name: str) -> Manifest:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": LEASE,
        "metadata": {"namespace": namespace, "name": name},
    }
