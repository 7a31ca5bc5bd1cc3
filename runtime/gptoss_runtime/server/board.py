"""What is known of the replica now: written by the supervisor's loop, read by whoever asks on its ports.

No reader ever causes work or waits for vLLM: kubelet's and HAProxy's questions are answered from here.
"""

import time
import uuid

from gptoss_runtime.contract import Gauge, Phase, ReplicaState, Verdict
from gptoss_runtime.server.telemetry import Numbers
from gptoss_runtime.server.verdict import Judgement


class Board:
    """The last judgement and the last numbers. Used from one event loop only."""

    def __init__(self, *, max_num_seqs: int) -> None:
        self.max_num_seqs = max_num_seqs
        self.judgement = Judgement(
            phase=Phase.STARTING, verdict=Verdict(ready=False, live=True, reason="the server is starting vLLM")
        )
        self.numbers = Numbers()
        self.in_flight: int | None = None
        self.load_seconds: float | None = None
        """From the server's start until it was ready for the first time."""
        self._start_id = uuid.uuid4().hex
        self._started = time.monotonic()
        self._sequence = 0

    @property
    def uptime_seconds(self) -> float:
        """Since the server's start."""
        return time.monotonic() - self._started

    def state(self) -> ReplicaState:
        """Return the state document, with the next sequence number."""
        self._sequence += 1
        own: dict[Gauge, float | None] = {
            Gauge.MAX_NUM_SEQS: self.max_num_seqs,
            Gauge.REQUESTS_IN_FLIGHT: self.in_flight,
            Gauge.LOAD_SECONDS: None if self.load_seconds is None else round(self.load_seconds, 3),
        }
        gauges = {str(name): float(value) for name, value in own.items() if value is not None}
        return ReplicaState(
            start_id=self._start_id,
            sequence=self._sequence,
            phase=self.judgement.phase,
            verdict=self.judgement.verdict,
            uptime_seconds=round(self.uptime_seconds, 3),
            counters=self.numbers.counters,
            gauges={**self.numbers.gauges, **gauges},
        )
