"""Metrics of the cache."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

from gptoss_runtime.activator.detour.cache import AnswerCache


class CacheResult(StrEnum):
    """What the cache did for a request; also what clients see in a header."""

    HIT = "hit"
    """It gave the answer."""
    MISS = "miss"
    """It had none, and keeps the replica's if it may."""
    BYPASS = "bypass"
    """It had no part in it: the request is not deterministic, or the client wants a new answer."""


class CacheMetrics:
    """What Prometheus is told."""

    def __init__(self, cache: AnswerCache) -> None:
        self._requests = Counter(
            "gptoss_gateway_cache_requests",
            "Requests that came to the cache, by what it did.",
            ("result",),
            registry=None,
        )
        self._bytes = Gauge("gptoss_gateway_cache_bytes", "Bytes of all answers in the cache.", registry=None)
        self._bytes.set_function(lambda: cache.used_bytes)
        self._entries = Gauge("gptoss_gateway_cache_entries", "Answers in the cache.", registry=None)
        self._entries.set_function(lambda: len(cache))

    def register(self, registry: CollectorRegistry) -> None:
        """Add the metrics to a registry."""
        for metric in (self._requests, self._bytes, self._entries):
            registry.register(metric)

    def count(self, result: CacheResult) -> None:
        """Count one request."""
        self._requests.labels(result).inc()
