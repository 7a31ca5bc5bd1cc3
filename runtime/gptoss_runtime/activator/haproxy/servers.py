"""What HAProxy knows of the replicas: its `show stat`, read into values."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gptoss_runtime.gateway_contract import Section


class ServerStatus(StrEnum):
    """Whether HAProxy sends requests to a server."""

    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    """Running requests go on, new ones go elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStat:
    """One replica, as HAProxy sees it."""

    name: str
    address: str
    """Without the port."""
    status: ServerStatus
    slots: int | None
    """Requests that it may run at once now. None: no limit."""
    running: int
    queued: int
    """Requests that wait for this replica and no other."""
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStat:
    """All replicas together."""

    running: int
    """Requests at replicas. Those that the activator holds are not among them."""
    queued: int
    """Requests that wait for any replica. Those that the activator holds are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """The backend and its servers, at one moment."""

    backend: BackendStat
    servers: tuple[ServerStat, ...]

    def up(self) -> tuple[ServerStat, ...]:
        """Return the servers that HAProxy sends requests to."""
        return tuple(server for server in self.servers if server.status is ServerStatus.UP)


class UnreadableStat(ValueError):
    """`show stat` did not answer what HAProxy 3.0 answers; the message names what is missing."""


def read_stat(text: str) -> Replicas:
    """Return what `show stat replicas 6 -1` says.

    Places that no replica has yet, and the activator's own, are left out. Raises UnreadableStat.
    """
    rows = list(csv.reader(text.removeprefix("# ").strip().splitlines()))
    try:
        column = {name: index for index, name in enumerate(rows[0])}
        cells = [dict(zip(_COLUMNS, (row[column[name]] for name in _COLUMNS), strict=True)) for row in rows[1:]]
        servers = tuple(_server(row) for row in cells if _is_replica(row))
        total = next(row for row in cells if row["svname"] == "BACKEND")
        queued = int(total["qcur"])
    except (IndexError, KeyError, StopIteration, ValueError) as error:
        raise UnreadableStat(f"HAProxy's statistics of backend {Section.REPLICAS} cannot be read: {error!r}") from error
    # The backend's own count of running requests includes those that wait at the activator.
    return Replicas(
        backend=BackendStat(running=sum(server.running for server in servers), queued=queued), servers=servers
    )


_COLUMNS = ("svname", "qcur", "scur", "slim", "status", "weight", "addr")


def _is_replica(row: dict[str, str]) -> bool:
    return (
        row["svname"] not in {"BACKEND", Section.ACTIVATOR}
        and bool(row["addr"])
        and not row["status"].startswith("MAINT")
    )


def _server(row: dict[str, str]) -> ServerStat:
    return ServerStat(
        name=row["svname"],
        address=_host(row["addr"]),
        status=_status(row["status"], int(row["weight"])),
        slots=int(row["slim"]) if row["slim"] else None,
        running=int(row["scur"]),
        queued=int(row["qcur"]),
        weight=int(row["weight"]),
    )


def _status(text: str, weight: int) -> ServerStatus:
    # `UP 1/2` is on its way down and still used, `DOWN 1/2` on its way up and not yet used.
    if text.startswith(("UP", "no check")):
        return ServerStatus.UP if weight else ServerStatus.DRAIN
    return ServerStatus.DRAIN if text.startswith(("DRAIN", "NOLB")) else ServerStatus.DOWN


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def addresses(servers: Sequence[ServerStat]) -> tuple[str, ...]:
    """Return the addresses of all known replicas, each once, sorted."""
    return tuple(sorted({server.address for server in servers}))
