"""From rows to bars. Pure."""

from collections.abc import Sequence

from e2e.bench.bars import Bar, Op, median, most
from e2e.bench.rows import Row, values_of
from e2e.bench.runtime.rows import (
    CUT,
    DRAINED,
    KILLED,
    OURS,
    SOAK,
    SPEED,
    START,
    STOPPED_IDLE,
    STOPPED_LOADED,
    pairs,
)


IDLE_SECONDS_BEYOND_PERIOD = 12
WINDOW_SECONDS_BEYOND = 2


def judge(rows: Sequence[Row]) -> list[Bar]:
    """Return every bar. Speeds are medians over pairs of slices; what must not happen is the worst round."""
    speed = [ours / plain for ours, plain in pairs(rows, SPEED, "tokens_per_second") if plain]
    first = [ours - plain for ours, plain in pairs(rows, SPEED, "ttft_p50_ms")]
    start = [ours - plain for ours, plain in pairs(rows, START, "start_s")]
    return [
        Bar(name="tokens per second, beside vLLM alone", value=median(speed), unit="x", op=Op.AT_LEAST, bar=0.99),
        _at_most("time to first token p50, beyond vLLM's alone", median(first), "ms", 1),
        _at_most("start to ready, beyond vLLM's alone", median(start), "s", 2),
        _at_most("engine killed: out", _worst(rows, KILLED, "out_s"), "s", 1),
        Bar(
            name="engine killed: exit status and reason",
            value=_least(rows, KILLED, "exit_status", "reasons"),
            unit="told",
            op=Op.AT_LEAST,
            bar=1,
        ),
        _at_most(
            "engine stopped under load: out after the window",
            _worst(rows, STOPPED_LOADED, "after_window_s"),
            "s",
            WINDOW_SECONDS_BEYOND,
        ),
        _at_most(
            "engine stopped idle: out after the probe's period",
            _worst(rows, STOPPED_IDLE, "after_window_s"),
            "s",
            IDLE_SECONDS_BEYOND_PERIOD,
        ),
        _at_most("saturation: false alarms", _worst(rows, SOAK, "false_alarms"), "looks", 0),
        _at_most("drain of 60 s, 32 streams: cut", _worst(rows, DRAINED, "cut"), "streams", 0),
        _at_most("drain of 2 s: cut without an error event", _worst(rows, CUT, "without_error"), "streams", 0),
        _at_most(
            "drain of 2 s: last error after the deadline", _worst(rows, CUT, "last_error_after_deadline_s"), "s", 1
        ),
        # A pod is gone 5 s after the last error may have been sent.
        _at_most("drain of 2 s: gone after the deadline", _worst(rows, CUT, "gone_after_deadline_s"), "s", 5),
    ]


def _worst(rows: Sequence[Row], item: str, name: str) -> float | None:
    return most(values_of(rows, item, OURS, name).values())


def _least(rows: Sequence[Row], item: str, *names: str) -> float | None:
    """Return 1 when all of these values are set in all rounds, 0 when one is not, None when nothing was measured."""
    values = [value for name in names for value in values_of(rows, item, OURS, name).values()]
    return float(all(values)) if values else None


def _at_most(name: str, value: float | None, unit: str, bar: float) -> Bar:
    return Bar(name=name, value=value, unit=unit, op=Op.AT_MOST, bar=bar)
