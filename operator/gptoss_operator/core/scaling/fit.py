"""What a replica does in a second, learnt from what replicas say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Decayed sums over samples of (requests that run, seconds per token of each of them)."""

    weight: float = 0.0
    n: float = 0.0
    nn: float = 0.0
    itl: float = 0.0
    n_itl: float = 0.0
    replica_seconds: float | None = None
    """Replica-seconds per request, as last known."""
