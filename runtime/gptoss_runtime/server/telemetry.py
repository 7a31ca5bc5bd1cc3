"""From vLLM's exposition to the few numbers of the state document. Pure. Metric names are those of vLLM 0.32."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType

from gptoss_runtime.contract import Counter, Gauge
from gptoss_runtime.exposition import Sample, label_values, read_samples, total


_FINISHED = "vllm:request_success_total"
_FINISHED_REASON = "finished_reason"
_COUNTERS = MappingProxyType(
    {
        Counter.ENGINE_STEPS: "vllm:iteration_tokens_total_count",
        Counter.PROMPT_TOKENS: "vllm:prompt_tokens_total",
        Counter.GENERATION_TOKENS: "vllm:generation_tokens_total",
        Counter.REQUESTS_FINISHED: _FINISHED,
        Counter.REQUESTS_REJECTED: "vllm:admission_rejections_total",
        Counter.PREEMPTIONS: "vllm:num_preemptions_total",
        Counter.FIRST_TOKENS: "vllm:time_to_first_token_seconds_count",
        Counter.FIRST_TOKEN_SECONDS: "vllm:time_to_first_token_seconds_sum",
        Counter.FURTHER_TOKENS: "vllm:inter_token_latency_seconds_count",
        Counter.FURTHER_TOKEN_SECONDS: "vllm:inter_token_latency_seconds_sum",
    }
)
_GAUGES = MappingProxyType(
    {
        Gauge.REQUESTS_RUNNING: "vllm:num_requests_running",
        Gauge.REQUESTS_WAITING: "vllm:num_requests_waiting",
        Gauge.KV_CACHE_USAGE: "vllm:kv_cache_usage_perc",
    }
)
_CACHE = "vllm:cache_config_info"
_CACHE_TOKENS = "kv_cache_size_tokens"
"""What vLLM logs as "KV cache size". Its blocks times their size would be more: layers with a window share the pool."""
NAMES = frozenset({*_COUNTERS.values(), *_GAUGES.values(), _CACHE})
"""Samples that are read here. The middleware offers them alone, which is cheaper than all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What one look at vLLM's metrics told; absent is unknown."""

    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How clients' requests ended, since vLLM's start."""

    all: int
    """Those that are over."""
    failed: int
    """Of these, those that failed by the fault of vLLM or the machine."""


def numbers_of(exposition: str) -> Numbers:
    """Return the numbers in vLLM's `/metrics`, summed over its engines."""
    samples = read_samples(exposition, NAMES)
    counters = {str(key): total(samples, name) for key, name in _COUNTERS.items()}
    for reason in label_values(samples, _FINISHED, _FINISHED_REASON):
        counters[f"{Counter.REQUESTS_FINISHED}_{reason}"] = total(samples, _FINISHED, **{_FINISHED_REASON: reason})
    gauges = {str(key): total(samples, name) for key, name in _GAUGES.items()}
    gauges[Gauge.KV_TOKENS] = _cache_tokens(samples)
    return Numbers(counters=_known(counters), gauges=_known(gauges))


def in_flight(held: int | None, numbers: Numbers, own: int) -> int | None:
    """Return how many requests of clients are in vLLM; None when nothing told.

    The larger of two counts: the front `held` answers until their last byte was handed over; the engine counts until
    the last token, `own` requests of the server included.
    """
    gauges = numbers.gauges
    engine = [gauges[name] for name in (Gauge.REQUESTS_RUNNING, Gauge.REQUESTS_WAITING) if name in gauges]
    counts = [max(0, int(sum(engine)) - own)] if engine else []
    if held is not None:
        counts.append(held)
    return max(counts, default=None)


def _cache_tokens(samples: Iterable[Sample]) -> float | None:
    words = [sample.labels.get(_CACHE_TOKENS, "") for sample in samples if sample.name == _CACHE]
    return float(sum(map(int, words))) if words and all(word.isdecimal() for word in words) else None


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
