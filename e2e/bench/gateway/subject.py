"""What is measured: a proxy that runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something that answers on a port in front of the simulated replicas."""

    name: str
    address: str
    port: int
    pids: tuple[int, ...] = ()
    """All its processes; their children count too."""
    proxy_pids: tuple[int, ...] = ()
    """Of these, the one that carries every byte, if there is a choice."""
    usage_port: int = 0
    """Where replicas report the tokens of each request. Zero: nowhere."""
