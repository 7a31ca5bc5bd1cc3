"""The operator's own metrics, and the HTTP server for them and for the kubelet's questions."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gptoss_operator.shell.rollout_metrics import RolloutMetrics
from gptoss_operator.shell.scaling_metrics import ScalingMetrics
from gptoss_operator.shell.store import Key


PREFIX: Final = "gptoss_operator"
REPLICA_STATES: Final = {
    "existing": "replicas",
    "ready": "readyReplicas",
    "updated": "updatedReplicas",
    "desired": "desiredReplicas",
}
"""Value of the label `state`, and the status field that it shows."""
SCRAPE_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

Verdict = Callable[[], str | None]
"""What is wrong, or None."""


class Telemetry:
    """Metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._passes = Counter(f"{PREFIX}_reconcile", "Passes made.", ["result"], registry=self.registry)
        self._pass_seconds = Histogram(
            f"{PREFIX}_reconcile_duration_seconds", "How long passes took.", registry=self.registry
        )
        self._requests = Counter(
            f"{PREFIX}_api_requests", "Calls to the API server.", ["verb", "code"], registry=self.registry
        )
        self._replicas = Gauge(
            f"{PREFIX}_deployment_replicas",
            "Replicas of each GptOssDeployment, as in its status.",
            ["namespace", "name", "state"],
            registry=self.registry,
        )
        self._scrapes = Counter(
            f"{PREFIX}_scrapes", "Questions to replicas for their state.", ["result"], registry=self.registry
        )
        self._scrape_seconds = Histogram(
            f"{PREFIX}_scrape_duration_seconds",
            "How long replicas took to say their state.",
            buckets=SCRAPE_BUCKETS,
            registry=self.registry,
        )
        self._gateway_scrapes = Counter(
            f"{PREFIX}_gateway_scrapes", "Questions to gateways for their state.", ["result"], registry=self.registry
        )
        self._gateway_scrape_seconds = Histogram(
            f"{PREFIX}_gateway_scrape_duration_seconds",
            "How long gateways took to say their state.",
            buckets=SCRAPE_BUCKETS,
            registry=self.registry,
        )
        self.scaling = ScalingMetrics(PREFIX, self.registry)
        self.rollouts = RolloutMetrics(PREFIX, self.registry)
        build = Gauge(f"{PREFIX}_build_info", "Always 1.", ["version"], registry=self.registry)
        build.labels(version("gptoss-operator")).set(1)

    def count_request(self, verb: str, code: str) -> None:
        """Count one call to the API server. `code` is its HTTP status, or `none` without an answer."""
        self._requests.labels(verb, code).inc()

    def count_pass(self, result: str, seconds: float) -> None:
        """Count one pass: `changed`, `quiet` or `error`."""
        self._passes.labels(result).inc()
        self._pass_seconds.observe(seconds)

    def count_scrape(self, result: str, seconds: float) -> None:
        """Count one question to a replica for its state, by how it came out; see `shell.samples.Result`."""
        self._scrapes.labels(result).inc()
        self._scrape_seconds.observe(seconds)

    def count_gateway_scrape(self, result: str, seconds: float) -> None:
        """Count one question to a gateway for its state, by how it came out; see `shell.samples.Result`."""
        self._gateway_scrapes.labels(result).inc()
        self._gateway_scrape_seconds.observe(seconds)

    def show_replicas(self, key: Key, status: Mapping[str, Any] | None) -> None:
        """Show the replica counts of a status."""
        for state, field in REPLICA_STATES.items():
            self._replicas.labels(key.namespace, key.name, state).set((status or {}).get(field) or 0)

    def forget(self, key: Key) -> None:
        """Show nothing more of an object that is gone."""
        self.scaling.forget(key)
        self.rollouts.forget(key)
        for state in REPLICA_STATES:
            self._replicas.remove(key.namespace, key.name, state)

    def show_leader(self, leads: Callable[[], bool]) -> None:
        """Show whether this process works, of several that hold a Lease between them."""
        leader = Gauge(f"{PREFIX}_leader", "1 in the process that works, 0 in those that wait.", registry=self.registry)
        leader.set_function(lambda: float(leads()))

    def watch(self, queue_depth: Callable[[], int], watch_ages: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Add what is read only when somebody asks: the queue's length and, by resource, the watches' silence."""
        self.registry.register(_Live(queue_depth, watch_ages))


class _Live(Collector):
    def __init__(self, queue_depth: Callable[[], int], watch_ages: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._queue_depth = queue_depth
        self._watch_ages = watch_ages

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(f"{PREFIX}_queue_depth", "Objects that wait for a pass.", value=self._queue_depth())
        ages = GaugeMetricFamily(
            f"{PREFIX}_watch_last_event_age_seconds", "Age of the oldest watch's last event.", labels=["resource"]
        )
        oldest: dict[str, float] = {}
        for resource, age in self._watch_ages():
            oldest[resource] = max(age, oldest.get(resource, 0.0))
        for resource, age in oldest.items():
            ages.add_metric([resource], age)
        yield ages


def http_application(telemetry: Telemetry, sick: Verdict, not_ready: Verdict) -> web.Application:
    """Return the server of /metrics, /healthz and /readyz. A verdict that is not None answers 503 with its text."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(telemetry.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", _probe(sick))
    application.router.add_get("/readyz", _probe(not_ready))
    return application


def _probe(verdict: Verdict) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        problem = verdict()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    return answer
