"""What is shown of decisions on replicas and of their cost, for each GptOssDeployment."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from gptoss_operator.shell.store import Key


OBJECT: Final = ("namespace", "name")
COSTS: Final = {
    "hourly": ("cost_dollars_per_hour", "What the replicas of now cost in an hour."),
    "perMillionOutputTokens": ("cost_dollars_per_million_output_tokens", "By the tokens and the cost of an hour."),
    "savedLastDay": ("saved_dollars_last_day", "Saved in 24 hours against on-demand machines alone."),
}
"""Fields of `status.cost`, and the metrics that show them."""


class ScalingMetrics:
    """Terms, decisions and costs."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._terms = Gauge(
            f"{prefix}_scaling_term",
            "What the last decision on replicas was made of; see status.lastDecision.terms.",
            [*OBJECT, "term"],
            registry=registry,
        )
        self._decisions = Counter(
            f"{prefix}_scaling_decisions",
            "Changes of the number of replicas (Up, Down) or of their places (Move), by what limited them.",
            [*OBJECT, "direction", "limit"],
            registry=registry,
        )
        self._costs = {
            field: Gauge(f"{prefix}_{name}", text, OBJECT, registry=registry) for field, (name, text) in COSTS.items()
        }
        self._shown: dict[Key, set[str]] = {}
        self._costed: dict[Key, set[str]] = {}
        self._counted: dict[Key, set[tuple[str, str]]] = {}

    def show_terms(self, key: Key, terms: Mapping[str, float]) -> None:
        """Show the terms of the last decision, and no others: what is not known is absent."""
        for gone in self._shown.pop(key, set()) - terms.keys():
            self._terms.remove(key.namespace, key.name, gone)
        for name, value in terms.items():
            self._terms.labels(key.namespace, key.name, name).set(value)
        self._shown[key] = set(terms)

    def count_decision(self, key: Key, before: Mapping[str, Any] | None, after: Mapping[str, Any], limit: str) -> None:
        """Count a decision, if `status.lastDecision` is not what it was."""
        decision = after.get("lastDecision")
        if not decision or decision == (before or {}).get("lastDecision"):
            return
        change = decision["replicas"] - decision["previous"]
        direction = "Up" if change > 0 else "Down" if change < 0 else "Move"
        self._decisions.labels(key.namespace, key.name, direction, limit).inc()
        self._counted.setdefault(key, set()).add((direction, limit))

    def show_cost(self, key: Key, status: Mapping[str, Any] | None) -> None:
        """Show `status.cost`."""
        cost = (status or {}).get("cost") or {}
        known = {field for field in COSTS if cost.get(field) is not None}
        for field in self._costed.pop(key, set()) - known:
            self._costs[field].remove(*key)
        for field in known:
            self._costs[field].labels(*key).set(float(cost[field]))
        self._costed[key] = known

    def forget(self, key: Key) -> None:
        """Show nothing more of an object that is gone."""
        self.show_terms(key, {})
        self.show_cost(key, None)
        for labels in self._counted.pop(key, set()):
            self._decisions.remove(*key, *labels)
        del self._shown[key], self._costed[key]
