"""From rows to bars. Pure."""

from collections.abc import Sequence

from e2e.bench.bars import Bar, Op, median, most
from e2e.bench.gateway.behaviour import HELD, SLOW_CLIENTS, TURNS
from e2e.bench.gateway.failures import DRAINED, HUNG, KILLED, WATCHDOG
from e2e.bench.gateway.items import OVERLOAD, REQUESTS, STREAMS
from e2e.bench.gateway.subjects import DIRECT, ENVOY, GATEWAY, ROUTER
from e2e.bench.rows import Row, ratios, values_of


PER_CPU = "requests_per_cpu_second"
FLAT_MB = 8
"""Growth with slow clients that still counts as none: their buffers in HAProxy, two of 16 KB for each."""


def judge(rows: Sequence[Row]) -> list[Bar]:
    """Return every bar. Medians over rounds; of errors and of turns, the worst round."""
    return [*_speed(rows), *_memory(rows), *_failures(rows)]


def added_ttft(rows: Sequence[Row], subject: str) -> dict[int, float]:
    """Return what a subject adds to the time to the first token, in milliseconds, by round."""
    through = values_of(rows, STREAMS, subject, "ttft_p50_ms")
    direct = values_of(rows, STREAMS, DIRECT, "ttft_p50_ms")
    return {number: through[number] - direct[number] for number in through.keys() & direct.keys()}


def _speed(rows: Sequence[Row]) -> list[Bar]:
    ours, theirs = added_ttft(rows, GATEWAY), added_ttft(rows, ROUTER)
    beside = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys() if theirs[number]]
    return [
        _at_least("requests per CPU-second, beside vllm-router", _beside(rows, REQUESTS, PER_CPU, ROUTER), "x", 2.0),
        _at_least("requests per CPU-second, beside Envoy", _beside(rows, REQUESTS, PER_CPU, ENVOY), "x", 2.0),
        _at_most("added time to first token, p50", median(ours.values()), "ms", 0.30),
        _at_most("added time to first token, beside vllm-router", median(beside), "x", 0.65),
        _at_most(
            "CPU of 1,000 streams, beside vllm-router",
            _beside(rows, STREAMS, "cpu_s_per_1000_streams", ROUTER),
            "x",
            0.85,
        ),
        _at_least(
            "streams per second in overload, beside vllm-router",
            _beside(rows, OVERLOAD, "streams_per_second", ROUTER),
            "x",
            1.4,
        ),
        _at_most("errors in overload", _worst(rows, OVERLOAD, "errors"), "requests", 0),
        _at_most("turns: most less fewest", _worst(rows, TURNS, "spread"), "requests", 1),
    ]


def _memory(rows: Sequence[Row]) -> list[Bar]:
    growth = median(values_of(rows, SLOW_CLIENTS, GATEWAY, "rss_growth_mb").values())
    return [
        _at_most("memory at 400 streams", median(values_of(rows, OVERLOAD, GATEWAY, "rss_mb").values()), "MB", 64),
        _at_most("memory that slow clients add", growth, "MB", FLAT_MB),
    ]


def _failures(rows: Sequence[Row]) -> list[Bar]:
    return [
        _at_most("killed: errors before a token", _worst(rows, KILLED, "errors"), "requests", 0),
        _at_most("killed: back in turn after ready", _middle(rows, KILLED, "back_ms"), "ms", 150),
        _at_most("hung: last request after the checks' verdict", _middle(rows, HUNG, "last_request_s"), "s", 1),
        _at_most("hung: errors before a token", _worst(rows, HUNG, "errors"), "requests", 0),
        _at_most("watchdog: last request after its word", _middle(rows, WATCHDOG, "last_request_s"), "s", 1),
        _at_most("watchdog: errors before a token", _worst(rows, WATCHDOG, "errors"), "requests", 0),
        _at_most("drained: last request after the word", _middle(rows, DRAINED, "last_request_ms"), "ms", 300),
        _at_most("drained: cut streams", _worst(rows, DRAINED, "cut"), "streams", 0),
        _at_most("held: errors of 1,000 requests", _worst(rows, HELD, "errors"), "requests", 0),
        _at_most("held: first answer after ready", _middle(rows, HELD, "first_answer_ms"), "ms", 50),
    ]


def _beside(rows: Sequence[Row], item: str, name: str, peer: str) -> float | None:
    return median(ratios(rows, item, name, GATEWAY, peer))


def _middle(rows: Sequence[Row], item: str, name: str) -> float | None:
    return median(values_of(rows, item, GATEWAY, name).values())


def _worst(rows: Sequence[Row], item: str, name: str) -> float | None:
    return most(values_of(rows, item, GATEWAY, name).values())


def _at_least(name: str, value: float | None, unit: str, bar: float) -> Bar:
    return Bar(name=name, value=value, unit=unit, op=Op.AT_LEAST, bar=bar)


def _at_most(name: str, value: float | None, unit: str, bar: float) -> Bar:
    return Bar(name=name, value=value, unit=unit, op=Op.AT_MOST, bar=bar)
