"""What is known of the replica now: written by the supervisor's loops, read by whoever asks on its ports.

No reader ever causes work or waits for vLLM: kubelet's and HAProxy's questions are answered from here.
"""

import time
import uuid

from gptoss_runtime.contract import (
    CLOSED_SHARE,
    OPEN_SHARE,
    Check,
    CheckResult,
    Counter,
    Gauge,
    Notice,
    Phase,
    ReplicaState,
    Verdict,
)
from gptoss_runtime.orders import ServerOrders
from gptoss_runtime.server.deep import Facts, MemoryUse, Models, answer
from gptoss_runtime.server.golden_rounds import AGAIN_SECONDS, Golden
from gptoss_runtime.server.gpu import GpuReading
from gptoss_runtime.server.phases import StartClock
from gptoss_runtime.server.planned import PlannedReplica
from gptoss_runtime.server.telemetry import Answers, Numbers
from gptoss_runtime.server.verdict import Judgement
from gptoss_runtime.server.watchdog import NOTHING, Finding, Watch, WatchLimits, find


class Board:
    """The last judgement and what it came from. Used from one event loop only."""

    def __init__(self, orders: ServerOrders, *, golden_prompts: int = 0, again_seconds: float = AGAIN_SECONDS) -> None:
        self._started = time.monotonic()
        self._orders = orders
        self._start_id = uuid.uuid4().hex
        self._sequence = 0
        self.judgement = Judgement(
            phase=Phase.STARTING, verdict=Verdict(ready=False, live=True, reason="the server is starting vLLM")
        )
        self.start = StartClock(self._started)
        self.start_fault = ""
        """What is wrong with the answers of the start; empty while nothing is."""
        self.load_seconds: float | None = None
        """From the server's start until it was ready for the first time."""
        self.numbers = Numbers()
        self.in_flight: int | None = None
        """Requests of clients in vLLM."""
        self.answers: Answers | None = None
        """How clients' requests ended; None when vLLM is silent."""
        self.looked_at = float("-inf")
        """When the look began that found `in_flight`."""
        self.watch = Watch(alive_at=self._started, probed_at=self._started)
        self.limits = WatchLimits(
            stall_seconds=orders.stall_seconds,
            restart_seconds=orders.restart_seconds,
            probe_seconds=orders.probe_seconds,
        )
        self.probe_seconds: float | None = None
        """How long the last probe took that was answered."""
        self.models: Models | None = None
        self.note_machine(None, ())
        self.note_plan(None)
        self.notice: Notice | None = None
        self.share = OPEN_SHARE
        """Share of a full share of the requests that a rollout grants, in percent."""
        self._let_in_at = self._started
        self.golden = Golden(prompts=golden_prompts)
        self.again_seconds = again_seconds
        """Between two rounds of golden prompts, and between two probes of a canary, while a rollout watches."""

    @property
    def max_num_seqs(self) -> int:
        """Requests that may run at once."""
        return self._orders.max_num_seqs

    @property
    def was_ready(self) -> bool:
        """Whether the replica has ever been ready."""
        return self.load_seconds is not None

    @property
    def uptime_seconds(self) -> float:
        """Since the server's start."""
        return time.monotonic() - self._started

    @property
    def let_in_seconds(self) -> float:
        """Since it was ready for the first time and not closed."""
        return time.monotonic() - self._let_in_at

    @property
    def alive_age_seconds(self) -> float:
        """Since the last evidence that the engine works."""
        return time.monotonic() - self.watch.alive_at

    @property
    def probe_age_seconds(self) -> float:
        """Since the last probe ended."""
        return time.monotonic() - self.watch.probed_at

    @property
    def planned_kv_tokens(self) -> int | None:
        """Tokens that the key-value cache was foreseen to have room for; None when nothing was foreseen."""
        return self.planned.kv_tokens if self.planned else None

    def note_machine(self, memory: MemoryUse | None, gpus: tuple[GpuReading, ...]) -> None:
        """Take note of the pod's memory and GPUs."""
        self.memory, self.gpus = memory, gpus

    def note_plan(self, planned: PlannedReplica | None) -> None:
        """Take note of what was foreseen; None when nothing was."""
        self.planned = planned

    def note_share(self, share: int) -> None:
        """Take note of what a rollout grants."""
        if self.share == CLOSED_SHARE:
            self._let_in_at = time.monotonic()
        self.share = share

    def note_ready(self) -> None:
        """Take note that the answers of the start are good."""
        now = time.monotonic()
        self.load_seconds, self.start_fault = self.uptime_seconds, ""
        self._let_in_at = now
        self.start.finish(now)
        # The watchdog begins here: what vLLM was doing before was no client's request.
        self.watch = Watch(alive_at=now, probed_at=now, answer=self.watch.answer)

    def finding(self) -> Finding:
        """Return what the watchdog says, which it does from the first time ready on."""
        return find(self.watch, self.limits) if self.was_ready else NOTHING

    def checks(self) -> dict[str, CheckResult]:
        """Return the deep health report."""
        report = answer(
            Facts(
                served_names=self._orders.served_names,
                max_model_len=self._orders.max_model_len,
                models=self.models,
                watch=self.watch if self.was_ready else None,
                limits=self.limits,
                kv_cache_usage=self.numbers.gauges.get(Gauge.KV_CACHE_USAGE),
                memory=self.memory,
                gpus=self.gpus,
            )
        )
        return {**report, Check.GOLDEN_PROMPTS: self.golden.check} if self.golden.prompts else report

    def counters(self) -> dict[str, float]:
        """Return the totals since the start, by name; what is unknown is absent."""
        own: dict[Counter, float] = {}
        if self.answers is not None:
            own |= {Counter.ANSWERS: self.answers.all, Counter.ANSWERS_FAILED: self.answers.failed}
        if self.golden.prompts:
            own |= {Counter.GOLDEN_ASKED: self.golden.asked, Counter.GOLDEN_WRONG: self.golden.wrong}
        return {**self.numbers.counters, **{str(name): float(value) for name, value in own.items()}}

    def startup(self) -> dict[str, float]:
        """Return the seconds that each phase of the start took."""
        return self.start.seconds(time.monotonic())

    def state(self) -> ReplicaState:
        """Return the state document, with the next sequence number."""
        self._sequence += 1
        own: dict[Gauge, float | None] = {
            Gauge.MAX_NUM_SEQS: self.max_num_seqs,
            Gauge.REQUESTS_IN_FLIGHT: self.in_flight,
            Gauge.LOAD_SECONDS: None if self.load_seconds is None else round(self.load_seconds, 3),
            Gauge.STALLED_SECONDS: round(self.watch.stalled_seconds, 3) if self.was_ready else None,
            Gauge.PLANNED_KV_TOKENS: self.planned_kv_tokens,
        }
        gauges = {str(name): float(value) for name, value in own.items() if value is not None}
        return ReplicaState(
            start_id=self._start_id,
            sequence=self._sequence,
            phase=self.judgement.phase,
            verdict=self.judgement.verdict,
            uptime_seconds=round(self.uptime_seconds, 3),
            counters=self.counters(),
            gauges={**self.numbers.gauges, **gauges},
            startup=self.startup(),
            checks=self.checks(),
            notice=self.notice,
        )
