"""Our own metrics, computed from what is known when Prometheus asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gptoss_runtime.contract import OPEN_SHARE, Gauge, Phase
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import TokenTotals
from gptoss_runtime.server.gpu import gpu_metrics


class OwnMetrics(Collector):
    """The metrics of `board` and of the middleware's counts."""

    def __init__(self, board: Board, tokens: TokenTotals | None) -> None:
        self._board = board
        self._tokens = tokens

    def collect(self) -> Iterator[Metric]:
        """Yield the families. What is unknown is absent."""
        yield from _state(self._board)
        yield from _start(self._board)
        yield from _health(self._board)
        yield from _rollout(self._board)
        yield from _notice(self._board)
        yield from gpu_metrics(self._board.gpus)
        if self._tokens is not None:
            yield from _token_metrics(self._tokens)


def _state(board: Board) -> Iterator[Metric]:
    verdict = board.judgement.verdict
    yield GaugeMetricFamily("gptoss_server_ready", "Whether the replica takes requests.", value=float(verdict.ready))
    yield GaugeMetricFamily(
        "gptoss_server_live", "Whether the replica need not be started again.", value=float(verdict.live)
    )
    phases = GaugeMetricFamily("gptoss_server_phase", "1 for the phase the replica is in.", labels=["phase"])
    for phase in Phase:
        phases.add_metric([phase], float(phase is board.judgement.phase))
    yield phases
    yield GaugeMetricFamily("gptoss_server_uptime_seconds", "Since the server's start.", value=board.uptime_seconds)
    if board.in_flight is not None:
        yield GaugeMetricFamily(
            "gptoss_server_requests_in_flight", "Accepted and not yet answered to the end.", value=board.in_flight
        )


def _start(board: Board) -> Iterator[Metric]:
    phases = GaugeMetricFamily(
        "gptoss_server_start_phase_seconds", "How long each phase of the start took.", labels=["phase"]
    )
    for phase, seconds in board.startup().items():
        phases.add_metric([phase], seconds)
    yield phases
    if board.load_seconds is not None:
        yield GaugeMetricFamily(
            "gptoss_server_load_seconds", "From the server's start until it was ready.", value=board.load_seconds
        )
    if board.planned_kv_tokens is not None:
        yield GaugeMetricFamily(
            "gptoss_server_planned_kv_tokens",
            "Tokens that the key-value cache was foreseen to have room for.",
            value=board.planned_kv_tokens,
        )
    if (tokens := board.numbers.gauges.get(Gauge.KV_TOKENS)) is not None:
        yield GaugeMetricFamily(
            "gptoss_server_kv_tokens", "Tokens that the key-value cache has room for, as vLLM says.", value=tokens
        )


def _health(board: Board) -> Iterator[Metric]:
    checks = GaugeMetricFamily(
        "gptoss_server_check", "1 when this part of the deep health report is good, 0 when not.", labels=["check"]
    )
    for name, result in board.checks().items():
        if result.ok is not None:
            checks.add_metric([name], float(result.ok))
    yield checks
    if not board.was_ready:
        return
    yield GaugeMetricFamily(
        "gptoss_server_stalled_seconds",
        "How long the engine has had requests and not taken a step.",
        value=board.watch.stalled_seconds,
    )
    yield GaugeMetricFamily(
        "gptoss_server_alive_age_seconds",
        "Since the engine's last step or answer to a probe, as far as was seen.",
        value=board.alive_age_seconds,
    )
    if board.probe_seconds is not None:
        yield GaugeMetricFamily(
            "gptoss_server_probe_seconds", "How long the last good answer to a probe took.", value=board.probe_seconds
        )
        yield GaugeMetricFamily(
            "gptoss_server_probe_age_seconds", "Since the last probe ended.", value=board.probe_age_seconds
        )


def _rollout(board: Board) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "gptoss_server_traffic_share",
        "Share of a full share of the requests that a rollout grants, 0 to 1.",
        value=board.share / OPEN_SHARE,
    )
    if (answers := board.answers) is not None:
        yield CounterMetricFamily(
            "gptoss_server_answers", "Clients' requests that are over, since vLLM's start.", value=answers.all
        )
        yield CounterMetricFamily(
            "gptoss_server_answers_failed",
            "Of these, those that failed and not for a full queue or because the replica left.",
            value=answers.failed,
        )
    if (golden := board.golden).prompts:
        yield CounterMetricFamily(
            "gptoss_server_golden_prompts_asked", "Golden prompts that were asked.", value=golden.asked
        )
        yield CounterMetricFamily(
            "gptoss_server_golden_prompts_wrong",
            "Of these, those that were answered otherwise than they should be, or not.",
            value=golden.wrong,
        )


def _notice(board: Board) -> Iterator[Metric]:
    notice = board.notice
    if notice is None:
        return
    labels = ["kind", "source"]
    told = GaugeMetricFamily("gptoss_server_notice", "1 while the cloud announces this.", labels=labels)
    told.add_metric([notice.kind, notice.source], 1.0)
    yield told
    if notice.deadline is not None:
        deadline = GaugeMetricFamily(
            "gptoss_server_notice_deadline_seconds", "When it happens, in seconds since 1970.", labels=labels
        )
        deadline.add_metric([notice.kind, notice.source], notice.deadline)
        yield deadline


def _token_metrics(tokens: TokenTotals) -> Iterator[Metric]:
    totals = CounterMetricFamily(
        "gptoss_server_tokens", "Tokens of finished requests since vLLM's start.", labels=["tenant", "direction"]
    )
    for direction, by_tenant in (("prompt", tokens.prompt), ("generation", tokens.generation)):
        for tenant, count in by_tenant.items():
            totals.add_metric([tenant, direction], count)
    yield totals
    yield CounterMetricFamily(
        "gptoss_server_usage_reports_unsent",
        "Reports of a request's tokens that could not be sent to its gateway.",
        value=tokens.unsent_reports,
    )
